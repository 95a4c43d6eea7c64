-- consumer_update: change fields of a consumer.
-- KEYS[1]  broker:{S}
-- ARGV     name; then two per field, as for consumer_create
-- returns  OK
-- errors   CONSUMER_NOT_FOUND
-- cost     O(fields)
local s, c = enter(KEYS[1], ARGV[1])
if not c then return redis.error_reply('CONSUMER_NOT_FOUND no such consumer') end
-- sweep_at: a shorter ack wait may be over already; recheck: a lower max_deliver may be used up.
redis.call('HSET', c.key, 'updated_at', s.wall, 'sweep_at', 0, 'recheck', 'deadlines 0', unpack(ARGV, 2))
wake(s, c.name)
return redis.status_reply('OK')
