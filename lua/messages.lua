-- messages: a page of a stream's messages, without a consumer.
-- uses: filters entries holding ordering due forgetting schedule upkeep
-- KEYS[1]  broker:{S}
-- ARGV     after, a message id ('' = from the first); limit; collection_id ('' = any); up to, a message id ('' = the
--          last one now); [how many bytes the messages may have; 1 = newest first: `after` is the id to begin before,
--          `up to` the last one to look at; then texts that must all occur in the body of a message; bodies of plain
--          XADDs are not searched]
-- returns  [again = 1]; else the reply. after: the id to continue after, '' at the end; until: up to where; looked,
--          bytes: what it looked at
-- reply    again after until looked bytes / id head body
-- errors   STREAM_NOT_FOUND
-- cost     O(what it looks at): at most 500 messages or 512 KiB; so it may give fewer than there are
local s = open_stream(KEYS[1])
if not s then return redis.error_reply('STREAM_NOT_FOUND no such stream') end
if not up_to_date(s) then return { 1 } end
local function pick(entry)
  if is_plain(s, entry) then
    if s.kind == 'records' then return nil end
  else
    for i = 7, #ARGV do
      if not string.find(entry[2][4], ARGV[i], 1, true) then return nil end
    end
  end
  return (ARGV[3] == '' or routing_fields(s, entry) == ARGV[3]) and entry or nil
end
local entries, go_on, last, looked, bytes =
  page(s.log, ARGV[1], ARGV[4], tonumber(ARGV[2]), ARGV[5], pick, ARGV[6] == '1')
local reply = { 0, go_on, last, looked, bytes }
for i, entry in ipairs(entries) do
  reply[3 * i + 3], reply[3 * i + 4], reply[3 * i + 5] = entry[1], content_of(s, entry)
end
return reply
