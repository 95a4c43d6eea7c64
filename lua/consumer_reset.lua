-- consumer_reset: forget all delivery state and start anew. Tokens given before are stale.
-- uses: filters entries holding ordering keys schedule upkeep positions routes lifecycle
-- KEYS[1]  broker:{S}
-- ARGV     name; start (all, new, last, at:ms, ago:ms); deliver_policy as given
-- returns  OK
-- errors   CONSUMER_NOT_FOUND
-- cost     O(what waits for a retry)
local s = open_stream(KEYS[1])
local c = open_consumer(s, ARGV[1])
if not c then return redis.error_reply('CONSUMER_NOT_FOUND no such consumer') end
local now = now_ms()
trim(s, now)
forget_deliveries(s, c.name)
redis.call('HDEL', c.key, 'start', 'full')
redis.call('XGROUP', 'CREATE', s.log, c.name, start_id(s, ARGV[2], c.index, now), 'MKSTREAM')
redis.call('HSET', c.key, 'deliver_policy', ARGV[3], 'updated_at', now)
begin(s, c.key, c.name, ARGV[2], c.index)
wake(s, c.name)
return redis.status_reply('OK')
