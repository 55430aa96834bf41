-- The record of power-consumption. PostgreSQL 13 or newer.
--
--     psql -q -1 -v ON_ERROR_STOP=1 -f init.sql 'postgresql://user@host/database'
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
comment on column meter.site_id is 'The site where the meter is installed.';
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
comment on column power.measured_at is 'When: the tick of the round, or the arrival of a response that was late.';
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
comment on column energy.source is 'notified: the meter sent it. read: requested after the half hour. history: from the memory of the meter.';

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
comment on column co2.temperature_c is 'Degrees Celsius inside the sensor: several degrees above the room. null where the sensor does not give it.';
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

-- The one definition of a step: the kWh between two registers that follow one another. null where that is not known: a
-- register is missing, the meter was exchanged between them, or the rise cannot be true. True is 0 to 100 kWh, or one
-- count where that is more, for each half hour between them, and at most half of the register's range; a fall is a wrap
-- where that gives such a rise. (100 kWh is 200 kW: four times the 50 kW where low-voltage supply ends in Japan.)
create or replace function energy_step_kwh(
    earlier_at timestamptz, earlier_kwh numeric, later_at timestamptz, later_kwh numeric,
    exchanged_at timestamptz, count_kwh numeric, range_kwh numeric
) returns numeric language sql immutable parallel safe as $$
    select case
        when later_at >= exchanged_at then null
        when later_kwh >= earlier_kwh then
            case when later_kwh - earlier_kwh <= least(
                (date_part('epoch', later_at - earlier_at) / 1800)::integer * greatest(100, count_kwh), range_kwh * 0.5
            ) then later_kwh - earlier_kwh end
        when later_kwh - earlier_kwh + range_kwh between 0 and least(
            (date_part('epoch', later_at - earlier_at) / 1800)::integer * greatest(100, count_kwh), range_kwh * 0.5
        ) then later_kwh - earlier_kwh + range_kwh
    end
$$;
comment on function energy_step_kwh is
    'kWh between two registers that follow one another; null where that is not known. exchanged_at: when the meter of the '
    'first was exchanged; count_kwh: one count of it; range_kwh: where it goes back to zero, null: not known.';

-- A row of "meter" whose maker and serial number are both known and equal those of the row before it changes the scale
-- only; any other row after the first is an exchange. The memory of a meter reaches back before the moment at which it
-- was first seen, so the first row serves that time too.
create or replace view meter_service as
select site_id,
    case row_number() over meters when 1 then '-infinity' else since end as served_from,
    lead(since, 1, 'infinity') over meters as served_until,
    coalesce(
        min(since) filter (where is_another) over (meters rows between 1 following and unbounded following), 'infinity'
    ) as exchanged_at,
    count_kwh, count_kwh * round(10::numeric ^ digits) as range_kwh
from (
    select site_id, since, coefficient * unit_kwh as count_kwh, digits,
        (manufacturer = lag(manufacturer) over meters and serial_number = lag(serial_number) over meters) is not true
            as is_another
    from meter
    window meters as (partition by site_id order by since)
) as changes
window meters as (partition by site_id order by since);
comment on view meter_service is 'From when to when each row of "meter" gives the scale of the registers.';
comment on column meter_service.site_id is 'Where.';
comment on column meter_service.served_from is 'First moment; -infinity for the first row.';
comment on column meter_service.served_until is 'The moment after the last; infinity for the last row.';
comment on column meter_service.exchanged_at is 'When another meter took its place; infinity: it has not been exchanged.';
comment on column meter_service.count_kwh is 'kWh of one count of the registers.';
comment on column meter_service.range_kwh is 'kWh at which the registers go back to zero; null: not known.';

-- An import register of exactly 0 is what the memory of a meter holds for the time before it served: no register.
-- The order inside is for queries of the newest half hours: they are then found without making all the others.
create or replace view energy_half_hour as
select half_hour.site_id, half_hour.started_at,
    case when earlier.import_kwh > 0 and later.import_kwh > 0 then energy_step_kwh(
        earlier.registered_at, earlier.import_kwh, later.registered_at, later.import_kwh,
        meter.exchanged_at, meter.count_kwh, meter.range_kwh
    ) end as used_kwh,
    case when (earlier.import_kwh = 0 or later.import_kwh = 0) is not true then energy_step_kwh(
        earlier.registered_at, earlier.export_kwh, later.registered_at, later.export_kwh,
        meter.exchanged_at, meter.count_kwh, meter.range_kwh
    ) end as sold_kwh
from (
    select record.site_id, slot.started_at
    from (
        select site_id, min(registered_at) as first_at, max(registered_at) as last_at from energy group by site_id
    ) as record
    cross join lateral generate_series(
        record.first_at, record.last_at - interval '30 minutes', interval '30 minutes'
    ) as slot (started_at)
    order by slot.started_at desc
) as half_hour
left join energy as earlier
    on earlier.site_id = half_hour.site_id and earlier.registered_at = half_hour.started_at
left join energy as later
    on later.site_id = half_hour.site_id and later.registered_at = half_hour.started_at + interval '30 minutes'
left join meter_service as meter
    on meter.site_id = half_hour.site_id
    and half_hour.started_at >= meter.served_from and half_hour.started_at < meter.served_until;
comment on view energy_half_hour is
    'Energy of every half hour between the first and the last register of a site; null where a register is missing, '
    'where the meter was exchanged, and where the registers contradict each other.';
comment on column energy_half_hour.site_id is 'Where.';
comment on column energy_half_hour.started_at is 'When the half hour begins.';
comment on column energy_half_hour.used_kwh is 'kWh used from the grid, exact.';
comment on column energy_half_hour.sold_kwh is 'kWh sold to the grid, exact.';

-- The steps of a day, each quantity for itself: a register that only one of them lacks breaks no step of the other. The
-- row of midnight stays without a register, so that a day without any is listed.
create or replace view energy_day as
select site_id, day,
    case when sum(half_hours) filter (where not is_sold and kwh is not null) = 48
        then sum(kwh) filter (where not is_sold) end as used_kwh,
    case when sum(half_hours) filter (where is_sold and kwh is not null) = 48
        then sum(kwh) filter (where is_sold) end as sold_kwh
from (
    select step.site_id, step.day, step.is_sold, step.later_number - step.number as half_hours,
        energy_step_kwh(
            step.earlier_at, step.earlier_kwh, step.later_at, step.later_kwh,
            meter.exchanged_at, meter.count_kwh, meter.range_kwh
        ) as kwh
    from (
        select site_id, day, is_sold,
            number, lead(number) over registers as later_number,
            registered_at as earlier_at, lead(registered_at) over registers as later_at,
            kwh as earlier_kwh, lead(kwh) over registers as later_kwh
        from (
            select record.site_id, date(midnight) as day, is_sold, number, energy.registered_at,
                case when import_kwh = 0 then null when is_sold then export_kwh else import_kwh end as kwh
            from (
                select site_id,
                    min(registered_at) at time zone 'Asia/Tokyo' as first_at,
                    max(registered_at) at time zone 'Asia/Tokyo' as last_at
                from energy
                group by site_id
            ) as record
            cross join lateral generate_series(
                date_trunc('day', record.first_at), record.last_at - interval '30 minutes', interval '1 day'
            ) as midnight
            cross join generate_series(0, 48) as number
            cross join unnest(array[false, true]) as is_sold
            left join energy
                on energy.site_id = record.site_id
                and energy.registered_at
                    = date(midnight)::timestamp at time zone 'Asia/Tokyo' + number * interval '30 minutes'
        ) as slot
        where kwh is not null or number = 0
        window registers as (partition by site_id, day, is_sold order by number)
    ) as step
    left join meter_service as meter
        on meter.site_id = step.site_id
        and step.earlier_at >= meter.served_from and step.earlier_at < meter.served_until
) as steps
group by site_id, day;
comment on view energy_day is
    'Energy of every day in Japan: the sum of its steps where they cover it from midnight to midnight and all are true. A '
    'gap inside the day does no harm; null where a midnight is missing (also today), where the meter was exchanged, and '
    'where the registers contradict each other.';
comment on column energy_day.site_id is 'Where.';
comment on column energy_day.day is 'The day, from midnight to midnight in Japan: the day of the meter.';
comment on column energy_day.used_kwh is 'kWh used from the grid, exact.';
comment on column energy_day.sold_kwh is 'kWh sold to the grid, exact.';
