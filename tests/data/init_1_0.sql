-- The record of power-consumption. PostgreSQL 13 or newer.
--
--     psql -1 -v ON_ERROR_STOP=1 -f init.sql 'postgresql://user@host/database'
--
-- Safe to run again at any time, and after every upgrade of the program: nothing is ever dropped or emptied.
-- Run it as the owner of the tables. A later change of the schema is added to this file as a statement that only
-- adds, such as: alter table power add column if not exists ...
--
-- Rules of the house
--   * Times are timestamptz: a moment, whatever the zone of the reader. Units are in the names.
--   * null means "not measured", never zero.
--   * site_id and the time lead every key, so that the same reading written twice changes nothing, and so that the
--     tables can be partitioned by time or spread by site as they are.
--   * The program only selects and inserts. A role for it that can do nothing else (also no update and no delete):
--
--         create role power_writer login;
--         grant usage on schema public to power_writer;
--         grant select, insert on site, meter, power, energy, cpu_temperature, co2, bme280, radio_event to power_writer;
--         grant select on energy_half_hour, energy_day to power_writer;
--
--     For the two graph scripts "grant select" on the same tables and views is enough.

create table if not exists site (
    site_id integer generated always as identity primary key,
    name    text not null unique check (name <> '')
);
comment on table site is 'The places that are measured. One poller writes one site; several pollers may share the database.';
comment on column site.site_id is 'Number of the site in every other table.';
comment on column site.name is 'Name of the site: [storage] site in the settings file.';

create table if not exists meter (
    site_id       integer     not null references site,
    since         timestamptz not null,
    manufacturer  text,
    serial_number text,
    release       text,
    coefficient   integer     not null default 1 check (coefficient between 1 and 999999),
    unit_kwh      numeric     not null check (unit_kwh > 0 and unit_kwh <= 10000),
    digits        smallint    check (digits between 1 and 8),
    primary key (site_id, since)
);
comment on table meter is 'The meter in service from a moment on. A new row where it was exchanged; rows are only added.';
comment on column meter.site_id is 'The site where the meter hangs.';
comment on column meter.since is 'First moment at which this meter was seen in service.';
comment on column meter.manufacturer is 'EPC 0x8A: manufacturer code, six hexadecimal digits.';
comment on column meter.serial_number is 'EPC 0x8D: the number the maker gave to this meter.';
comment on column meter.release is 'EPC 0x82: release letter of the ECHONET Appendix that the meter follows.';
comment on column meter.coefficient is 'EPC 0xD3: factor of the registers, 1 where the meter has none.';
comment on column meter.unit_kwh is 'EPC 0xE1: kWh of one count of the registers, before the coefficient.';
comment on column meter.digits is 'EPC 0xD7: the registers go back to zero at 10^digits counts. null: not known, no wrap is assumed.';

-- The meter's own range of 0xE7 and 0xE8, so that none of its codes for "no data", "over" and "under" can get in; the
-- registers are 0 to 99,999,999 counts x coefficient up to 999,999 x unit up to 10,000 kWh, less than 1e18.
-- The time stands first: eight bytes, then two of four need no padding (76 bytes a row instead of 84).
create table if not exists power (
    measured_at timestamptz not null,
    site_id     integer     not null references site,
    power_w     integer      check (power_w between -2147483647 and 2147483645),
    current_r_a numeric(6,1) check (current_r_a between -3276.7 and 3276.5),
    current_t_a numeric(6,1) check (current_t_a between -3276.7 and 3276.5),
    import_kwh  numeric      check (import_kwh >= 0 and import_kwh < 1e18),
    export_kwh  numeric      check (export_kwh >= 0 and export_kwh < 1e18),
    primary key (site_id, measured_at)
);
comment on table power is 'What the meter said at each poll.';
comment on column power.measured_at is 'When: the tick of the round, or the arrival of an answer that was late.';
comment on column power.site_id is 'Where.';
comment on column power.power_w is 'EPC 0xE7: instantaneous power, W. Positive: used from the grid. Negative: sold to the grid.';
comment on column power.current_r_a is 'EPC 0xE8: instantaneous current of the R phase, A, steps of 0.1. Negative: towards the grid.';
comment on column power.current_t_a is 'EPC 0xE8: instantaneous current of the T phase, A, steps of 0.1. null on a two-wire supply.';
comment on column power.import_kwh is 'EPC 0xE0 x 0xD3 x 0xE1: register of the energy used from the grid, kWh, exact. Only grows, until it wraps.';
comment on column power.export_kwh is 'EPC 0xE3 x 0xD3 x 0xE1: register of the energy sold to the grid, kWh, exact. Only grows, until it wraps.';

create table if not exists energy (
    registered_at timestamptz not null check (mod(extract(epoch from registered_at)::numeric, 1800) = 0),
    site_id       integer     not null references site,
    import_kwh    numeric     check (import_kwh >= 0 and import_kwh < 1e18),
    export_kwh    numeric     check (export_kwh >= 0 and export_kwh < 1e18),
    source        text        not null check (source in ('notified', 'read', 'history')),
    primary key (site_id, registered_at)
);
comment on table energy is 'The registers of the meter exactly on each :00 and :30.';
comment on column energy.registered_at is 'The time stamp of the meter: exactly :00 or :30.';
comment on column energy.site_id is 'Where.';
comment on column energy.import_kwh is 'EPC 0xEA or 0xE2, x 0xD3 x 0xE1: register of the energy used from the grid, kWh, exact.';
comment on column energy.export_kwh is 'EPC 0xEB or 0xE4, x 0xD3 x 0xE1: register of the energy sold to the grid, kWh, exact.';
comment on column energy.source is 'notified: the meter sent it. read: asked for after the half hour. history: from the memory of the meter.';

create table if not exists cpu_temperature (
    measured_at   timestamptz not null,
    site_id       integer     not null references site,
    temperature_c real        not null check (temperature_c between -60 and 200),
    primary key (site_id, measured_at)
);
comment on table cpu_temperature is 'The temperature of the processor that runs the poller.';
comment on column cpu_temperature.measured_at is 'When: the tick of the round.';
comment on column cpu_temperature.site_id is 'Where.';
comment on column cpu_temperature.temperature_c is 'Degrees Celsius.';

create table if not exists co2 (
    measured_at   timestamptz not null,
    site_id       integer     not null references site,
    co2_ppm       integer     not null check (co2_ppm between 0 and 10000),
    temperature_c integer     check (temperature_c between -40 and 215),
    warming_up    boolean     not null,
    primary key (site_id, measured_at)
);
comment on table co2 is 'Carbon dioxide in the air of the room (MH-Z19).';
comment on column co2.measured_at is 'When: the tick of the round.';
comment on column co2.site_id is 'Where.';
comment on column co2.co2_ppm is 'Parts per million of volume; the sensor reaches to 10,000 at most.';
comment on column co2.temperature_c is 'Degrees Celsius inside the sensor: several degrees above the room. null where the sensor does not tell.';
comment on column co2.warming_up is 'true: the sensor had not settled yet; kept, but not to be trusted.';

create table if not exists bme280 (
    measured_at   timestamptz not null,
    site_id       integer     not null references site,
    temperature_c real        not null check (temperature_c between -40 and 85),
    humidity_pct  real        not null check (humidity_pct between 0 and 100),
    pressure_hpa  real        not null check (pressure_hpa between 300 and 1100),
    primary key (site_id, measured_at)
);
comment on table bme280 is 'The air of the room (Bosch BME280). Limits: the operating range of the data sheet.';
comment on column bme280.measured_at is 'When: the tick of the round.';
comment on column bme280.site_id is 'Where.';
comment on column bme280.temperature_c is 'Degrees Celsius.';
comment on column bme280.humidity_pct is 'Relative humidity, percent.';
comment on column bme280.pressure_hpa is 'Air pressure where the sensor is, hPa; not reduced to sea level.';

create table if not exists radio_event (
    happened_at timestamptz not null,
    site_id     integer     not null references site,
    kind        text        not null check (kind <> ''),
    duration_s  real        check (duration_s >= 0 and duration_s < 'infinity'),
    channel     smallint    check (channel between 33 and 60),
    pan_id      integer     check (pan_id between 0 and 65535),
    signal_dbm  real        check (signal_dbm between -200 and 100),
    detail      text,
    primary key (site_id, happened_at, kind)
);
comment on table radio_event is 'What happened to the link with the meter: scans, joins, losses, recoveries.';
comment on column radio_event.happened_at is 'When it ended, or was noticed.';
comment on column radio_event.site_id is 'Where.';
comment on column radio_event.kind is
    'scan, join, join_failed, lost, recovered, expired, renewed, limited, unlimited, reset, port_lost, transmit_time, '
    'meter_changed, clock_difference.';
comment on column radio_event.duration_s is 'How long it took, seconds.';
comment on column radio_event.channel is 'Radio channel, 33 (922.5 MHz) to 60 (927.9 MHz).';
comment on column radio_event.pan_id is 'PAN ID of the meter''s network.';
comment on column radio_event.signal_dbm is 'Signal strength, dBm.';
comment on column radio_event.detail is 'One short sentence. Never a secret.';

-- kWh between two registers of one meter. It wraps at 10^digits counts. null where a register is missing, and where the
-- difference cannot be true: a fall that is no wrap, or a rise beyond 100 kWh each half hour. (100 kWh is 200 kW: four
-- times the 50 kW where low-voltage supply ends in Japan. A meter that counts in steps above that may rise one count.)
create or replace function register_difference_kwh(
    earlier_kwh numeric, later_kwh numeric, count_kwh numeric, digits integer, half_hours integer
) returns numeric language sql immutable parallel safe as $$
    select case when rise_kwh between 0 and half_hours * greatest(100, count_kwh) then rise_kwh end
    from (
        select case when later_kwh >= earlier_kwh then later_kwh - earlier_kwh
                    else later_kwh - earlier_kwh + ('1e' || digits)::numeric * count_kwh end as rise_kwh
    ) as step
$$;
comment on function register_difference_kwh is 'kWh between two registers of one meter; null where that is not known.';

-- kWh used and sold from one register to another, by the meter of that time; null also where the meter was exchanged
-- between them. The history of a meter reaches back before the moment we first saw it: the first row of "meter" serves
-- that time too.
create or replace function energy_between(site integer, started_at timestamptz, ended_at timestamptz)
returns table (used_kwh numeric, sold_kwh numeric) language sql stable parallel safe as $$
    select register_difference_kwh(earlier.import_kwh, later.import_kwh, meter.count_kwh, meter.digits, spans.half_hours),
           register_difference_kwh(earlier.export_kwh, later.export_kwh, meter.count_kwh, meter.digits, spans.half_hours)
    from energy as earlier
    join energy as later on later.site_id = earlier.site_id and later.registered_at = ended_at
    cross join lateral (select (extract(epoch from ended_at - started_at) / 1800)::integer as half_hours) as spans
    left join lateral (
        select coefficient * unit_kwh as count_kwh, meter.digits from meter where meter.site_id = site
        order by since <= started_at desc, abs(extract(epoch from since - started_at)) limit 1
    ) as meter on true
    where earlier.site_id = site and earlier.registered_at = started_at
        and not exists (
            select from meter as newer
            where newer.site_id = site and newer.since > started_at and newer.since <= ended_at
                and exists (select from meter as older where older.site_id = site and older.since < newer.since)
        )
$$;
comment on function energy_between is 'kWh used and sold between two registers, which are there exactly at these times.';

create or replace view energy_half_hour as
select site.site_id, half_hour.started_at, energy.used_kwh, energy.sold_kwh
from site
cross join lateral (
    select min(registered_at) as first_at, max(registered_at) as last_at from energy where energy.site_id = site.site_id
) as record
cross join lateral (
    select generate_series(record.first_at, record.last_at - interval '30 minutes', interval '30 minutes') as started_at
) as half_hour
left join lateral energy_between(
    site.site_id, half_hour.started_at, half_hour.started_at + interval '30 minutes'
) as energy on true;
comment on view energy_half_hour is
    'Energy of every half hour between the first and the last register of a site; null where a register is missing, '
    'where the meter was exchanged, and where the registers contradict each other.';
comment on column energy_half_hour.site_id is 'Where.';
comment on column energy_half_hour.started_at is 'When the half hour begins.';
comment on column energy_half_hour.used_kwh is 'kWh used from the grid, exact.';
comment on column energy_half_hour.sold_kwh is 'kWh sold to the grid, exact.';

create or replace view energy_day as
select site.site_id, calendar.day, energy.used_kwh, energy.sold_kwh
from site
cross join lateral (
    select min(registered_at) at time zone 'Asia/Tokyo' as first_at,
           max(registered_at) at time zone 'Asia/Tokyo' - interval '30 minutes' as last_at
    from energy where energy.site_id = site.site_id
) as record
cross join lateral (
    select generate_series(date_trunc('day', record.first_at), record.last_at, interval '1 day')::date as day
) as calendar
left join lateral energy_between(
    site.site_id,
    calendar.day::timestamp at time zone 'Asia/Tokyo',
    (calendar.day + 1)::timestamp at time zone 'Asia/Tokyo'
) as energy on true;
comment on view energy_day is
    'Energy of every day in Japan, from its first midnight register to the next: holes inside the day do no harm; null '
    'where a midnight is missing (also today) or the meter was exchanged.';
comment on column energy_day.site_id is 'Where.';
comment on column energy_day.day is 'The day, from midnight to midnight in Japan: the day of the meter.';
comment on column energy_day.used_kwh is 'kWh used from the grid, exact.';
comment on column energy_day.sold_kwh is 'kWh sold to the grid, exact.';
