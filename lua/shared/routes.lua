-- routes: which filters are in use, and by which terms entries find them (shared/filters.lua).

-- Registers a filter's patterns (by = 1) or removes them (-1), without touching other filters. `#kinds` lists the kinds
-- of terms in use, `c=` for exact ones, `c12` for prefixes of 12 bytes; `#c12` counts their patterns.
local function change_routes(s, id, canonical, by)
  local key, filter, letters = s.key .. KEY.filters, cjson.decode(canonical), filter_letters(canonical)
  local args, counts = {}, {}
  for _, name in ipairs(TERM_KEYS) do
    local letter, leads = name[2], string.sub(letters, 1, 1) == name[2]
    for _, pattern in ipairs(filter[name[1]] or {}) do
      local kind, text = '=', term(letter, '=', pattern)
      if string.sub(pattern, -1) == '*' then
        kind, text = tostring(#pattern - 1), term(letter, '^', string.sub(pattern, 1, -2))
      end
      counts[letter .. kind] = (counts[letter .. kind] or 0) + by
      if by > 0 then args[#args + 1] = 0 end
      args[#args + 1] = leads and text .. id .. string.sub(letters, 2) or id .. text
    end
  end
  for from = 1, #args, 2000 do
    redis.call(by > 0 and 'ZADD' or 'ZREM', s.key .. KEY.routes, unpack(args, from, math.min(from + 1999, #args)))
  end
  local kinds = {}
  for kind in string.gmatch(redis.call('HGET', key, '#kinds') or '', '[^,]+') do
    if not counts[kind] then kinds[#kinds + 1] = kind end
  end
  for kind, count in pairs(counts) do
    if redis.call('HINCRBY', key, '#' .. kind, count) > 0 then kinds[#kinds + 1] = kind
    else redis.call('HDEL', key, '#' .. kind) end
  end
  redis.call('HSET', key, '#kinds', table.concat(kinds, ','))
end

-- A consumer begins or stops using a filter. The first use starts its index, the end of the last use drops it.
local function use_filter(s, id, canonical)
  local key = s.key .. KEY.filters
  if redis.call('HINCRBY', key, id .. ':uses', 1) > 1 then return end
  -- Entries that have yet to be indexed get into this index together with the others.
  redis.call('HSET', key, id, canonical, id .. ':at', '0-0', id .. ':until', redis.call('HGET', key, '#from') or s.seen)
  change_routes(s, id, canonical, 1)
end

local function release_filter(s, id)
  local key = s.key .. KEY.filters
  if redis.call('HINCRBY', key, id .. ':uses', -1) > 0 then return end
  change_routes(s, id, redis.call('HGET', key, id), -1)
  redis.call('HDEL', key, id, id .. ':uses', id .. ':at', id .. ':until')
  redis.call('UNLINK', s.key .. KEY.index .. id)
  -- Without filters nothing has to be indexed.
  if redis.call('EXISTS', s.key .. KEY.routes) == 0 then redis.call('UNLINK', key, s.key .. KEY.leaving) end
end
