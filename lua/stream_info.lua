-- stream_info: a stream's fields and what it holds.
-- uses: filters entries holding ordering due forgetting schedule upkeep counts
-- KEYS[1]  broker:{S}
-- returns  [again = 1]: its limits drop more than one script may; else the reply. bytes: of memory; first_id, last_id:
--          '' = none
-- reply    messages bytes first_id last_id consumers / name value
-- errors   STREAM_NOT_FOUND
-- cost     O(1)
local s = open_stream(KEYS[1])
if not s then return redis.error_reply('STREAM_NOT_FOUND no such stream') end
if not trim(s) then return { 1 } end
up_to_date(s)
local messages = num_messages(s)
local first = redis.call('XRANGE', s.log, '-', '+', 'COUNT', 1)[1]
local last = redis.call('XREVRANGE', s.log, '+', '-', 'COUNT', 1)[1]
local bytes = messages > 0 and redis.pcall('MEMORY', 'USAGE', s.log) or 0
local reply = {
  messages, type(bytes) == 'number' and bytes or 0, first and first[1] or '', last and last[1] or '',
  redis.call('SCARD', s.key .. KEY.consumers),
}
for _, value in ipairs(redis.call('HGETALL', s.key)) do reply[#reply + 1] = value end
return reply
