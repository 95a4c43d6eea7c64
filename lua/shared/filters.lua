-- filters: which indexes an entry belongs to, by a look-up, and how much of that work one script does.
--
-- A filter is registered in `routes` under the terms of its most telling key: collection_id, else resource_id, else
-- provider. An entry looks up its own terms, and prefixes only of the lengths in use, so the number of filters does not
-- matter. Terms are `c=6:stripe`, `c^3:str` for a prefix, likewise r and p; a member of `routes` is
--
--   term F others   a filter to be found by this term; `others`: letters of its other keys (F alone matches by the term)
--   F term          a pattern of one of its other keys
--
-- What a script does of all upkeep is bounded by its work, in units of some 2 µs. What it cannot do is left to calls that
-- need whole indexes: entries behind `#from` (a field of `filters`; none = all up to `seen` have their places) are yet to be
-- indexed, and what lies in `leaving` is yet to leave (`#leaving`: there is some).

-- One less, of digits: the numbers of an id have 64 bits, those of Lua 53.
local function one_less(digits)
  local head, last, zeros = string.match(digits, '^(%d-)([1-9])(0*)$')
  local less = head .. string.char(string.byte(last) - 1) .. string.rep('9', #zeros)
  return string.match(less, '^0*(%d+)$')
end

-- The greatest id before this one: what a group's cursor must be for this one to be the next.
local function id_before(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  if string.find(seq, '[1-9]') then return ms .. '-' .. one_less(seq) end
  if not string.find(ms, '[1-9]') then return '0-0' end
  return one_less(ms) .. '-18446744073709551615'
end

local TERM_KEYS = { { 'collection_id', 'c' }, { 'resource_id', 'r' }, { 'provider', 'p' } }
local WORK = 300

-- Whether the script may go on, after this.
local function spend(s, units)
  s.work = (s.work or WORK) - units
  return s.work > 0
end

-- What decides where an entry belongs, as one text.
local function place_of(collection_id, resource_id)
  return #collection_id .. ':' .. collection_id .. (resource_id or '')
end

local function routing_of(s)
  if not s.routing then
    local kinds, from = unpack(redis.call('HMGET', s.key .. KEY.filters, '#kinds', '#from'))
    s.routing = { kinds = kinds, from = from, memo = {}, added = {}, left = {}, leaving = {} }
  end
  return s.routing
end

local function term(letter, kind, value)
  return letter .. kind .. #value .. ':' .. value
end

-- The terms of a place by their letter, as far as any filter uses such.
local function terms_of(s, place)
  local length, at = string.match(place, '^(%d+):()')
  local collection_id, resource_id = string.sub(place, at, at + length - 1), string.sub(place, at + length)
  local values, terms, count = { c = collection_id, r = resource_id, p = string.match(collection_id, '^[^:]*') }, { c = {}, r = {}, p = {} }, 1
  for letter, kind in string.gmatch(routing_of(s).kinds, '(%a)([^,]+)') do
    local value, own = values[letter], terms[letter]
    if kind == '=' then own[#own + 1] = term(letter, '=', value)
    elseif #value >= tonumber(kind) then own[#own + 1] = term(letter, '^', string.sub(value, 1, tonumber(kind))) end
    count = count + 1
  end
  spend(s, count)
  return terms
end

local function is_registered(s, terms, before, behind)
  local asked = {}
  for i, text in ipairs(terms) do asked[i] = before .. text .. behind end
  spend(s, 1)
  for _, score in ipairs(#asked > 0 and redis.call('ZMSCORE', s.key .. KEY.routes, unpack(asked)) or {}) do
    if score then return true end
  end
  return false
end

local function others_match(s, terms, id, others)
  for letter in string.gmatch(others, '.') do
    if not is_registered(s, terms[letter], id, '') then return false end
  end
  return true
end

-- The filters that match a place. Remembered for one script: a batch usually repeats few.
local function filters_of(s, place)
  local memo = routing_of(s).memo
  if memo[place] then return memo[place] end
  local found, seen, terms = {}, {}, terms_of(s, place)
  for _, own in pairs(terms) do
    for _, text in ipairs(own) do
      -- Ids are of hex digits, and `g` is what comes after these.
      local rows = redis.call('ZRANGEBYLEX', s.key .. KEY.routes, '[' .. text, '(' .. text .. 'g')
      for _, row in ipairs(rows) do
        local id, alone = string.sub(row, #text + 1, #text + 16), #row == #text + 16
        if not seen[id] and (alone or others_match(s, terms, id, string.sub(row, #text + 17))) then found[#found + 1] = id end
        seen[id] = true
      end
      spend(s, #rows / 2)
    end
  end
  memo[place] = found
  return found
end

local function note(s, changes, member, place)
  local found = filters_of(s, place)
  for _, id in ipairs(found) do
    local members = changes[id] or {}
    changes[id], members[#members + 1] = members, member
  end
  spend(s, #found / 2)
end

-- An entry that was appended, unless others before it wait for their places too.
local function index_entry(s, id, collection_id, resource_id)
  local r = routing_of(s)
  if not r.kinds or r.from then return end
  if spend(s, 0) then return note(s, r.added, sortable(id), place_of(collection_id, resource_id)) end
  r.from = id_before(id)
  redis.call('HSET', s.key .. KEY.filters, '#from', r.from)
end

-- An entry that is not to be delivered any more.
local function unindex_entry(s, id, place)
  local r = routing_of(s)
  local member = r.kinds and sortable(id)
  if not member or r.from and member > sortable(r.from) then return end
  if spend(s, 0) then return note(s, r.left, member, place) end
  table.insert(r.leaving, 0)
  table.insert(r.leaving, member .. ' ' .. place)
end

-- Drop ids of an index that lie before the first entry, some at a time. True when none is left.
local function drop_old(s, index, bound)
  local last = redis.call('ZRANGEBYLEX', index, '-', bound, 'LIMIT', 499, 1)[1]
  local dropped = redis.call('ZREMRANGEBYLEX', index, '-', last and '[' .. last or bound)
  spend(s, 1 + dropped / 3)
  return not last
end

-- Write what was noted, as few commands as it takes. Where the script knows what the limits have dropped, that goes as well.
local function write_indexes(s)
  local r = s.routing
  if not r then return end
  for id, members in pairs(r.added) do
    local index, scored = s.key .. KEY.index .. id, {}
    for i, member in ipairs(members) do scored[2 * i - 1], scored[2 * i] = 0, member end
    redis.call('ZADD', index, unpack(scored))
    if s.bound and spend(s, 1) then drop_old(s, index, s.bound) end
  end
  for id, members in pairs(r.left) do redis.call('ZREM', s.key .. KEY.index .. id, unpack(members)) end
  if #r.leaving > 0 then
    redis.call('ZADD', s.key .. KEY.leaving, unpack(r.leaving))
    redis.call('HSET', s.key .. KEY.filters, '#leaving', 1)
  end
  r.added, r.left, r.leaving = {}, {}, {}
end
