-- retrying: messages that were delivered and wait to be delivered again, in stream order.
-- uses: filters entries holding ordering due forgetting schedule upkeep consumer_upkeep fence counts redelivery expiry
-- KEYS[1]  broker:{S}
-- ARGV     consumer; after, a message id ('' = from the first); limit
-- returns  [again = 1]; else the reply. after: the id to continue after, '' at the end; a page without messages need
--          not be the last. due_at: ms; reason: of its last nack; key: its ordering key, '' = none; blocked: 1 =
--          another message holds its ordering key
-- reply    again after / id deliver_count due_at reason key blocked
-- errors   CONSUMER_NOT_FOUND
-- cost     O(1000), independent of how many wait
local s, c = enter(KEYS[1], ARGV[1])
if not c then return redis.error_reply('CONSUMER_NOT_FOUND no such consumer') end
if not (ready(s, c) and expire(s, c)) then return { 1 } end
local reply, limit, set, LOOK = { 0, '' }, tonumber(ARGV[3]), s.key .. KEY.retrying, 1000
local from = ARGV[2] == '' and '-' or '(' .. sortable(ARGV[2]) .. ';'
local rows = redis.call('ZRANGEBYLEX', set, from, '+', 'LIMIT', 0, LOOK)
for i, row in ipairs(rows) do
  local member, name = string.match(row, '^([^:]*):(.*)$')
  local id = stream_id(member)
  local number, given_back, reason, _, due_at = note_of(c, id)
  if name == c.name and due_at then
    local key = key_of(s, redis.call('XRANGE', s.log, id, id)[1])
    local blocked = c.keyed and redis.call('HEXISTS', s.key .. KEY.parked .. c.name, id) or 0
    for _, value in ipairs({ id, number - given_back, due_at, reason, key, blocked }) do reply[#reply + 1] = value end
    limit = limit - 1
  end
  if limit == 0 and i < #rows or i == LOOK then
    reply[2] = id
    break
  end
end
return reply
