-- consumer_pause: pause a consumer until a time, or resume it.
-- KEYS[1]  broker:{S}
-- ARGV     name; until in ms, inf = until it is resumed, '' = resume
-- returns  OK
-- errors   CONSUMER_NOT_FOUND
-- cost     O(1)
local s, c = enter(KEYS[1], ARGV[1])
if not c then return redis.error_reply('CONSUMER_NOT_FOUND no such consumer') end
redis.call('HSET', c.key, 'paused_until', ARGV[2], 'updated_at', s.wall)
wake(s, c.name)
return redis.status_reply('OK')
