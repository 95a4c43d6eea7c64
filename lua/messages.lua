-- messages: what the stream holds, oldest first, without a consumer.
-- uses: filters entries holding ordering keys schedule upkeep
-- KEYS[1]  broker:{S}
-- ARGV     after, a message id ('' = from the first); how many to look at; collection_id ('' = any)
-- returns  [behind = 1], or [0, id to go on after or '' at the end, then 3 a message: id, head, body]
-- errors   STREAM_NOT_FOUND
-- cost     O(how many to look at)
local s = open_stream(KEYS[1])
if not s then return redis.error_reply('STREAM_NOT_FOUND no such stream') end
if not up_to_date(s) then return { 1 } end
local entries, go_on = page(s.log, ARGV[1], tonumber(ARGV[2]))
local reply = { 0, go_on }
for _, entry in ipairs(entries) do
  if ARGV[3] == '' or routing_fields(s, entry) == ARGV[3] then
    local head, body = content_of(s, entry)
    for _, value in ipairs({ entry[1], head, body }) do reply[#reply + 1] = value end
  end
end
return reply
