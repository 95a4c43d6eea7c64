-- filters: finds the indexes of an entry by look-up, and bounds the work of one script.
--
-- A filter is registered in `routes` under the terms of its most selective field: collection_id, else resource_id, else
-- provider. An entry looks up its own terms, and only prefixes of lengths in use, so the number of filters does not
-- matter. Terms are `c=6:stripe`, or `c^3:str` for a prefix; r and p have the same form. A member of `routes` is
--
--   term F others   filter F is found by this term; `others`: letters of its other fields (none: the term is enough)
--   F term          a pattern of one of its other fields
--
-- The work of upkeep in one script is bounded, in units of about 2 µs. The rest is left to calls that need whole
-- indexes: entries after `#from` (a field of `filters`; absent = all up to `seen` are indexed) have yet to be indexed,
-- and what is in `leaving` has yet to leave (`#leaving`: there is some).

-- Subtracts one from digits: the numbers of an id have 64 bits, those of Lua 53.
local function one_less(digits)
  local head, last, zeros = string.match(digits, '^(%d-)([1-9])(0*)$')
  local less = head .. string.char(string.byte(last) - 1) .. string.rep('9', #zeros)
  return string.match(less, '^0*(%d+)$')
end

-- The greatest id before this one: a group with this cursor reads the given id next.
local function id_before(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  if string.find(seq, '[1-9]') then return ms .. '-' .. one_less(seq) end
  if not string.find(ms, '[1-9]') then return '0-0' end
  return one_less(ms) .. '-18446744073709551615'
end

local TERM_KEYS = { { 'collection_id', 'c' }, { 'resource_id', 'r' }, { 'provider', 'p' } }
local WORK = 300

-- Adds to the script's work. Returns whether it may go on.
local function spend(s, units)
  s.work = (s.work or WORK) - units
  return s.work > 0
end

-- An entry's place: what decides in which indexes it belongs, as one text.
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

-- The terms of a place by their letter, of the kinds that filters use.
local function terms_of(s, place)
  local length, at = string.match(place, '^(%d+):()')
  local collection_id, resource_id = string.sub(place, at, at + length - 1), string.sub(place, at + length)
  local values = { c = collection_id, r = resource_id, p = string.match(collection_id, '^[^:]*') }
  local terms, count = { c = {}, r = {}, p = {} }, 1
  for letter, kind in string.gmatch(routing_of(s).kinds, '(%a)([^,]+)') do
    local value, own = values[letter], terms[letter]
    if kind == '=' then own[#own + 1] = term(letter, '=', value)
    elseif #value >= tonumber(kind) then own[#own + 1] = term(letter, '^', string.sub(value, 1, tonumber(kind))) end
    count = count + 1
  end
  spend(s, count)
  return terms
end

local function is_registered(s, terms, before, after)
  local asked = {}
  for i, text in ipairs(terms) do asked[i] = before .. text .. after end
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

-- The filters that match a place. Cached for one script: a batch usually has few places.
local function filters_of(s, place)
  local memo = routing_of(s).memo
  if memo[place] then return memo[place] end
  local found, seen, terms = {}, {}, terms_of(s, place)
  for _, own in pairs(terms) do
    for _, text in ipairs(own) do
      -- Ids are hex digits, and `g` comes after these.
      local rows = redis.call('ZRANGEBYLEX', s.key .. KEY.routes, '[' .. text, '(' .. text .. 'g')
      for _, row in ipairs(rows) do
        local id, alone = string.sub(row, #text + 1, #text + 16), #row == #text + 16
        if not seen[id] and (alone or others_match(s, terms, id, string.sub(row, #text + 17))) then
          found[#found + 1] = id
        end
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

-- Indexes an entry that was appended, unless earlier entries have yet to be indexed.
local function index_entry(s, id, collection_id, resource_id)
  local r = routing_of(s)
  if not r.kinds or r.from then return end
  if spend(s, 0) then return note(s, r.added, sortable(id), place_of(collection_id, resource_id)) end
  r.from = id_before(id)
  redis.call('HSET', s.key .. KEY.filters, '#from', r.from)
end

-- Removes an entry that is not to be delivered any more from its indexes.
local function unindex_entry(s, id, place)
  local r = routing_of(s)
  local member = r.kinds and sortable(id)
  if not member or r.from and member > sortable(r.from) then return end
  if spend(s, 0) then return note(s, r.left, member, place) end
  table.insert(r.leaving, 0)
  table.insert(r.leaving, member .. ' ' .. place)
end

-- Drops ids of an index that are before the first entry, some at a time. True: none is left.
local function drop_old(s, index, bound)
  local last = redis.call('ZRANGEBYLEX', index, '-', bound, 'LIMIT', 499, 1)[1]
  local dropped = redis.call('ZREMRANGEBYLEX', index, '-', last and '[' .. last or bound)
  spend(s, 1 + dropped / 3)
  return not last
end

-- Writes the noted changes with few commands. If this script has trimmed the log, it trims these indexes too.
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
