-- cancel: cancel a delayed event. Its id may be published again.
-- uses: filters entries holding ordering due forgetting schedule upkeep
-- KEYS[1]  broker:{S}
-- ARGV     event id
-- returns  [again = 1]; or OK
-- errors   STREAM_NOT_FOUND, EVENT_NOT_FOUND
-- cost     O(log n)
local s = open_stream(KEYS[1])
if not s then return redis.error_reply('STREAM_NOT_FOUND no such stream') end
if not up_to_date(s) then return { 1 } end
local ticket = redis.call('HGET', s.key .. KEY.delayed_ids, ARGV[1])
if not ticket then return redis.error_reply('EVENT_NOT_FOUND no such event waits') end
drop_delayed(s, ticket, cjson.decode(redis.call('HGET', s.key .. KEY.delayed_events, ticket)))
for _, window in ipairs({ KEY.dedupe, KEY.dedupe_old }) do redis.call('HDEL', s.key .. window, ARGV[1]) end
return redis.status_reply('OK')
