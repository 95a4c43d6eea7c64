-- messages: what the stream holds, oldest first, without a consumer.
-- uses: filters entries holding ordering due schedule upkeep
-- KEYS[1]  broker:{S}
-- ARGV     after, a message id ('' = from the first); limit; collection_id ('' = any); up to, a message id ('' = the last one now);
--          [how many bytes the messages may have]
-- returns  [behind = 1]; else the reply. after: the id to go on after, '' at the end; until: up to where
-- reply    behind after until / id head body
-- errors   STREAM_NOT_FOUND
-- cost     O(what it looks at): at most 500 messages, or fewer of 512 KiB together; so it may give fewer than there are
local s = open_stream(KEYS[1])
if not s then return redis.error_reply('STREAM_NOT_FOUND no such stream') end
if not up_to_date(s) then return { 1 } end
local entries, go_on, last = page(s.log, ARGV[1], ARGV[4], tonumber(ARGV[2]), ARGV[5], function(entry)
  if ARGV[3] ~= '' and routing_fields(s, entry) ~= ARGV[3] or s.kind == 'records' and is_plain(s, entry) then return nil end
  return entry
end)
local reply = { 0, go_on, last }
for i, entry in ipairs(entries) do
  reply[3 * i + 1], reply[3 * i + 2], reply[3 * i + 3] = entry[1], content_of(s, entry)
end
return reply
