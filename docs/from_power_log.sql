-- Brings the record of the older program (tables power_log, temp_log, co2_log, bme280_log) into that of this one.
--
--     pg_dump -t power_log -t temp_log -t co2_log -t bme280_log old | psql power      where they are in another database
--     psql -q -1 -v ON_ERROR_STOP=1 -f docs/from_power_log.sql 'postgresql://power_owner@localhost/power'
--
-- PostgreSQL 13 or newer, after init.sql, as a role that may insert. The readings become those of the site 'home'; for
-- another, put PGOPTIONS='-c power_log.site=NAME' before psql. Safe to run again, also while the poller is writing:
-- what the record has already stays as it is. The old tables are only read, and one that is missing is passed over.
--
-- - created_at has no zone: it is taken for the time of Japan.
-- - The registers become kWh, exactly: count x coefficient (EPC D3) x unit (EPC E1).
-- - What is no measurement stays out: the codes of the meter for "no data", "over" and "under", a unit or coefficient
--   that is not known, 0 ppm, a CO2 sensor that was booting, its -40 C for "no temperature", and what lies outside of
--   what a sensor can measure.
-- - Half hours (table energy) cannot be derived from readings between them: the poller reads those of the last 99 days
--   from the meter's own memory.

set client_encoding = 'UTF8';

insert into site (name)
select coalesce(nullif(current_setting('power_log.site', true), ''), 'home')
on conflict (name) do nothing;

do $$
declare
    here constant integer := (
        select site_id from site where name = coalesce(nullif(current_setting('power_log.site', true), ''), 'home')
    );
    brought bigint;
begin
    if to_regclass('power_log') is not null then
        insert into power (site_id, measured_at, power_w, current_r_a, current_t_a, import_kwh)
        select here, measured_at, power_w, current_r_a, current_t_a, import_kwh
        from (
            select
                created_at at time zone 'Asia/Tokyo' as measured_at,
                -- EPC E7: 7FFFFFFE no data, 7FFFFFFF over, 80000000 under
                case when 瞬時電力 between -2147483647 and 2147483645 then 瞬時電力 end as power_w,
                -- EPC E8, steps of 0.1 A: 7FFE no data, 7FFF over, 8000 under
                case when 瞬時電流_r between -32767 and 32765 then 瞬時電流_r * 0.1 end as current_r_a,
                case when 瞬時電流_t between -32767 and 32765 then 瞬時電流_t * 0.1 end as current_t_a,
                case when 積算電力量 between 0 and 99999999 then 積算電力量 end  -- EPC E0: FFFFFFFE no data
                -- EPC D3; where the meter has none at all, it is 1
                * case
                    when 係数 between 1 and 999999 then 係数::numeric
                    when 係数 is null and not exists (select from power_log where 係数 is not null) then 1
                end
                * case 電力量単位  -- EPC E1
                    when 0 then 1
                    when 1 then 0.1
                    when 2 then 0.01
                    when 3 then 0.001
                    when 4 then 0.0001
                    when 10 then 10
                    when 11 then 100
                    when 12 then 1000
                    when 13 then 10000
                end as import_kwh
            from power_log
            where isfinite(created_at)
        ) as readings
        where num_nonnulls(power_w, current_r_a, current_t_a, import_kwh) > 0
        order by measured_at
        on conflict (site_id, measured_at) do nothing;
        get diagnostics brought = row_count;
        raise notice 'power_log: % readings are new in the record', brought;
    end if;

    if to_regclass('temp_log') is not null then
        insert into cpu_temperature (site_id, measured_at, temperature_c)
        select here, created_at at time zone 'Asia/Tokyo', temp / 1000.0  -- thousandths of a degree
        from temp_log
        where temp between -40000 and 125000 and isfinite(created_at)
        order by created_at
        on conflict (site_id, measured_at) do nothing;
        get diagnostics brought = row_count;
        raise notice 'temp_log: % readings are new in the record', brought;
    end if;

    if to_regclass('co2_log') is not null then
        -- Nothing shows any more whether the sensor had settled, but for the bytes S = 1 and U = 15000 of one that boots,
        -- in the columns ss and pressure, which not every co2_log has.
        insert into co2 (site_id, measured_at, co2_ppm, temperature_c, warming_up)
        select
            here,
            created_at at time zone 'Asia/Tokyo',
            co2,
            case when temp between -20 and 70 then temp end,
            false
        from co2_log
        where
            co2 between 1 and 10000
            and isfinite(created_at)
            and coalesce(to_jsonb(co2_log) ->> 'ss', '') <> '1'
            and coalesce(to_jsonb(co2_log) ->> 'pressure', '') <> '15000'
        order by created_at
        on conflict (site_id, measured_at) do nothing;
        get diagnostics brought = row_count;
        raise notice 'co2_log: % readings are new in the record', brought;
    end if;

    if to_regclass('bme280_log') is not null then
        insert into bme280 (site_id, measured_at, temperature_c, humidity_pct, pressure_hpa)
        select here, created_at at time zone 'Asia/Tokyo', temp, humidity, pressure
        from bme280_log
        where
            temp between -40 and 85
            and humidity between 0 and 100
            and pressure between 300 and 1100
            and isfinite(created_at)
        order by created_at
        on conflict (site_id, measured_at) do nothing;
        get diagnostics brought = row_count;
        raise notice 'bme280_log: % readings are new in the record', brought;
    end if;
end
$$;
