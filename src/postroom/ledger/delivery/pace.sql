-- name: create_pace
-- A gateway's first use. Of two that come at once one makes the row.
INSERT INTO gateway_pace (gateway_id) VALUES (%(gateway_id)s) ON CONFLICT (gateway_id) DO NOTHING

-- name: look
-- What holds right now; the arithmetic is that of take_permits.
SELECT least(g.messages_per_s::double precision, s.per_s) AS per_s, CASE WHEN s.per_s IS NOT NULL THEN p.because END AS because,
       least(g.daily_quota, w.quota)::bigint AS quota,
       CASE WHEN p.day = t.today THEN p.taken_today ELSE 0 END AS taken_today
FROM gateway g LEFT JOIN gateway_pace p ON p.gateway_id = g.id
CROSS JOIN LATERAL (SELECT (clock_timestamp() AT TIME ZONE 'UTC')::date AS today,
                           extract(epoch FROM clock_timestamp() - p.slowed_at)::double precision AS slowed_s) t
CROSS JOIN LATERAL (SELECT p.rate * (1 + %(growth_per_s)s * greatest(0, slowed_s)) AS per_s) grown
LEFT JOIN LATERAL (SELECT grown.per_s WHERE slowed_s < %(slowed_for_s)s
                   AND grown.per_s < coalesce(g.messages_per_s, 'infinity')) s ON true
CROSS JOIN LATERAL (SELECT g.warm_up_from * 2.0 ^ least(t.today - coalesce(p.first_day, t.today), 30) AS quota) w
WHERE g.id = %(gateway_id)s

-- name: take_permits
-- A token bucket and a day's quota behind one row lock, shared by every worker and machine. A gateway that was slowed grows
-- faster with the time since then, by the formula in domain/pace.py; when that is over, or above its own limit, it is
-- forgotten. No row back: this gateway was never used.
WITH held AS MATERIALIZED (
    SELECT p.*, g.messages_per_s::double precision AS limit_per_s, g.daily_quota, g.warm_up_from
    FROM gateway_pace p JOIN gateway g ON g.id = p.gateway_id WHERE p.gateway_id = %(gateway_id)s FOR UPDATE OF p
), moment AS MATERIALIZED (
    SELECT *, now AT TIME ZONE 'UTC' AS utc, extract(epoch FROM now - slowed_at)::double precision AS slowed_s,
           greatest(0, extract(epoch FROM now - refilled_at)::double precision) AS refilled_s
    FROM (SELECT *, clock_timestamp() AS now FROM held) h
), grown AS MATERIALIZED (
    SELECT *, utc::date AS today, CASE WHEN warm_up_from IS NOT NULL THEN coalesce(first_day, utc::date) END AS begun,
           CASE WHEN day = utc::date THEN taken_today ELSE 0 END AS taken,
           CASE WHEN slowed_s < %(slowed_for_s)s THEN rate * (1 + %(growth_per_s)s * greatest(0, slowed_s)) END AS grown_per_s
    FROM moment
), in_force AS MATERIALIZED (
    SELECT *, coalesce(grown_per_s < coalesce(limit_per_s, 'infinity'), false) AS slowed, least(limit_per_s, grown_per_s) AS per_s,
           least(daily_quota, warm_up_from * 2.0 ^ least(today - begun, 30))::bigint AS quota
    FROM grown
), available AS MATERIALIZED (
    SELECT *, CASE WHEN per_s IS NOT NULL THEN least(greatest(1, per_s / 4), tokens + per_s * refilled_s) END AS ready,
           CASE WHEN quota IS NOT NULL THEN greatest(0, quota - taken) END AS rest
    FROM in_force
), granted AS MATERIALIZED (
    SELECT *, least(%(wanted)s, floor(ready), rest)::integer AS n FROM available
), counted AS (
    UPDATE gateway_pace p SET
        tokens = coalesce(ready - n, 0), refilled_at = now, day = today, taken_today = taken + n, first_day = begun,
        rate = CASE WHEN slowed THEN p.rate END, because = CASE WHEN slowed THEN p.because END,
        slowed_at = CASE WHEN slowed THEN p.slowed_at END
    FROM granted g WHERE p.gateway_id = g.gateway_id
)
SELECT n AS granted,
       CASE WHEN n > 0 THEN 0 WHEN rest = 0 THEN extract(epoch FROM today + 1 - utc) ELSE (1 - ready) / per_s
       END::double precision AS wait_s,
       CASE WHEN n > 0 THEN NULL WHEN rest = 0 THEN 'quota' ELSE 'rate' END AS held_by,
       quota, coalesce(quota < daily_quota, daily_quota IS NULL AND quota IS NOT NULL) AS warming_up
FROM granted

-- name: give_back
-- Permits that were not used: the bucket and the day have them again.
UPDATE gateway_pace SET tokens = tokens + %(n)s,
    taken_today = CASE WHEN day = (clock_timestamp() AT TIME ZONE 'UTC')::date THEN greatest(0, taken_today - %(n)s)
                       ELSE taken_today END
WHERE gateway_id = %(gateway_id)s

-- name: slow_down
-- At most once a second, however many lanes meet the same throttle. The first time it starts from what the caller measured,
-- times the workers that send there now. The bucket is emptied, so that the slower pace begins here.
WITH held AS MATERIALIZED (
    SELECT p.*, g.messages_per_s::double precision AS limit_per_s
    FROM gateway_pace p JOIN gateway g ON g.id = p.gateway_id WHERE p.gateway_id = %(gateway_id)s FOR UPDATE OF p
), moment AS MATERIALIZED (
    SELECT *, extract(epoch FROM now - slowed_at)::double precision AS slowed_s
    FROM (SELECT *, clock_timestamp() AS now FROM held) h
), speed AS MATERIALIZED (
    SELECT *, least(limit_per_s, CASE
        WHEN slowed_s < %(slowed_for_s)s THEN rate * (1 + %(growth_per_s)s * greatest(0, slowed_s))
        ELSE greatest(%(from_min_per_s)s, %(measured_per_s)s * (
            SELECT greatest(1, count(DISTINCT c.owner)) FROM job j JOIN chunk c ON c.account_id = j.account_id AND c.job_id = j.id
            WHERE j.gateway_id = %(gateway_id)s AND j.status = 'sending' AND c.lease_until > clock_timestamp())) END) AS per_s
    FROM moment
)
UPDATE gateway_pace p SET rate = greatest(%(min_per_s)s, per_s * %(slowed_to)s), because = %(because)s, slowed_at = now,
                          tokens = 0, refilled_at = now
FROM speed s WHERE p.gateway_id = s.gateway_id AND coalesce(s.slowed_s, %(every_s)s) >= %(every_s)s
RETURNING p.rate

-- name: hold_pace
-- Who takes a connection slot, or gives one up for good, does it alone: two that look at once would take the same.
SELECT 1 FROM gateway_pace WHERE gateway_id = %(gateway_id)s FOR UPDATE

-- name: take_slot
-- The lowest number that nobody has, or whose owner did not renew it. Fewer than the gateway's own number while it refuses
-- more connections; one more is tried each minute.
INSERT INTO gateway_session AS mine (gateway_id, slot, owner, until)
SELECT g.id, slot, %(owner)s, clock_timestamp() + make_interval(secs => %(lease_s)s)
FROM gateway g JOIN gateway_pace p ON p.gateway_id = g.id
CROSS JOIN generate_series(1, least(g.connections,
    p.connections + floor(extract(epoch FROM clock_timestamp() - p.connections_at) / 60)::integer)) AS slot
WHERE g.id = %(gateway_id)s AND NOT EXISTS (
    SELECT FROM gateway_session t WHERE t.gateway_id = g.id AND t.slot = slot.slot AND t.until >= clock_timestamp())
ORDER BY slot LIMIT 1
ON CONFLICT (gateway_id, slot) DO UPDATE SET owner = excluded.owner, until = excluded.until
RETURNING slot, (SELECT messages_per_connection FROM gateway WHERE id = %(gateway_id)s)

-- name: free_slot
-- Its session is closed. Not if it had expired and is somebody else's by now.
DELETE FROM gateway_session WHERE gateway_id = %(gateway_id)s AND slot = %(slot)s AND owner = %(owner)s

-- name: free_slots_of
-- A worker that ended, or is known to be dead.
DELETE FROM gateway_session WHERE owner = %(owner)s

-- name: renew_slots
-- A worker's heartbeat for the sessions that it has; what it does not name runs out.
UPDATE gateway_session s SET until = clock_timestamp() + make_interval(secs => %(lease_s)s)
FROM unnest(%(gateways)s::bigint[], %(slots)s::integer[]) AS mine(gateway_id, slot)
WHERE s.gateway_id = mine.gateway_id AND s.slot = mine.slot AND s.owner = %(owner)s

-- name: fewer_connections
-- The gateway refuses one more connection, and whoever was refused still has its slot: so many less one are what it takes.
-- No row back: nobody else has one, and it refuses for another reason.
UPDATE gateway_pace p SET connections = others, connections_at = clock_timestamp()
FROM (SELECT count(*)::integer - 1 AS others FROM gateway_session
      WHERE gateway_id = %(gateway_id)s AND until >= clock_timestamp()) live
WHERE p.gateway_id = %(gateway_id)s AND others >= 1
RETURNING p.connections
