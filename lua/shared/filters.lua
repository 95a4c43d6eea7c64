-- filters: which indexes an entry belongs to, by a look-up. A filter is registered under the terms of its most telling
-- key (collection_id, else resource_id, else provider): `c=exact`, `c^prefix`, and likewise r and p. An entry looks up
-- its own terms, and prefixes only of the lengths in use, so the number of filters does not matter. A filter of one key
-- alone is matched by its term; it is marked by a `!` behind its id.

local TERM_KEYS = { { 'collection_id', 'c' }, { 'resource_id', 'r' }, { 'provider', 'p' } }

local function provider_of(collection_id)
  return string.match(collection_id, '^[^:]*')
end

local function pattern_matches(patterns, value)
  if not patterns then return true end
  if not value then return false end
  for _, pattern in ipairs(patterns) do
    if pattern == value then return true end
    if string.sub(pattern, -1) == '*' and string.sub(value, 1, #pattern - 1) == string.sub(pattern, 1, -2) then return true end
  end
  return false
end

local function filter_matches(filter, collection_id, resource_id)
  return pattern_matches(filter.collection_id, collection_id) and pattern_matches(filter.resource_id, resource_id)
    and pattern_matches(filter.provider, provider_of(collection_id))
end

local function filter_of(s, memo, id)
  memo.filters[id] = memo.filters[id] or cjson.decode(redis.call('HGET', s.key .. ':filters', id))
  return memo.filters[id]
end

-- The index keys of an entry. `memo` lives for one script call: a batch usually repeats few collections.
local function indexes_of(s, memo, collection_id, resource_id)
  if memo.routes == nil then
    memo.routes = redis.call('EXISTS', s.key .. ':routes') == 1
    if memo.routes then memo.lengths = redis.call('HMGET', s.key .. ':routes', '#c', '#r', '#p') end
    memo.filters = {}
  end
  local name = #collection_id .. ':' .. collection_id .. (resource_id or '')
  if memo[name] then return memo[name] end
  local found = {}
  if s.kind == 'records' then found[1] = s.key .. ':index:all' end
  if memo.routes then
    local terms = {}
    for i, value in pairs({ collection_id, resource_id or false, provider_of(collection_id) }) do
      if value then
        local letter = TERM_KEYS[i][2]
        terms[#terms + 1] = letter .. '=' .. value
        for length in string.gmatch(memo.lengths[i] or '', '%d+') do
          if #value >= tonumber(length) then terms[#terms + 1] = letter .. '^' .. string.sub(value, 1, tonumber(length)) end
        end
      end
    end
    local seen = {}
    for _, ids in ipairs(redis.call('HMGET', s.key .. ':routes', unpack(terms))) do
      for id, alone in string.gmatch(ids or '', '([^,!]+)(!?)') do
        if not seen[id] and (alone == '!' or filter_matches(filter_of(s, memo, id), collection_id, resource_id)) then
          found[#found + 1] = s.key .. ':index:' .. id
        end
        seen[id] = true
      end
    end
  end
  memo[name] = found
  return found
end
