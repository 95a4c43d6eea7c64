-- routes: which filters are in use. A first or last consumer of one makes the routes anew, by which entries find their filters.

-- The routes anew from the filters in use: rare (a first or last consumer of a filter), so simple.
local function rebuild_routes(s)
  local routes, lengths = {}, {}
  for _, field in ipairs(redis.call('HKEYS', s.key .. ':filters')) do
    if not string.find(field, ':', 1, true) then
      local filter, keys = cjson.decode(redis.call('HGET', s.key .. ':filters', field)), 0
      for _ in pairs(filter) do keys = keys + 1 end
      local id = keys == 1 and field .. '!' or field
      for _, term in ipairs(TERM_KEYS) do
        local patterns = filter[term[1]]
        if patterns then
          for _, pattern in ipairs(patterns) do
            local route = term[2] .. '=' .. pattern
            if string.sub(pattern, -1) == '*' then
              route = term[2] .. '^' .. string.sub(pattern, 1, -2)
              lengths[term[2]] = lengths[term[2]] or {}
              lengths[term[2]][#pattern - 1] = true
            end
            routes[route] = (routes[route] and routes[route] .. ',' or '') .. id
          end
          break
        end
      end
    end
  end
  redis.call('DEL', s.key .. ':routes')
  for route, ids in pairs(routes) do redis.call('HSET', s.key .. ':routes', route, ids) end
  for letter, set in pairs(lengths) do
    local list = {}
    for length in pairs(set) do list[#list + 1] = length end
    redis.call('HSET', s.key .. ':routes', '#' .. letter, table.concat(list, ','))
  end
end

-- A consumer begins or ceases to use a filter. The first use starts its index, the last one drops it.
local function use_filter(s, id, canonical)
  local key = s.key .. ':filters'
  if redis.call('HINCRBY', key, id .. ':uses', 1) > 1 then return end
  redis.call('HSET', key, id, canonical, id .. ':at', '0-0', id .. ':until', s.seen)
  rebuild_routes(s)
end

local function release_filter(s, id)
  local key = s.key .. ':filters'
  if redis.call('HINCRBY', key, id .. ':uses', -1) > 0 then return end
  redis.call('HDEL', key, id, id .. ':uses', id .. ':at', id .. ':until')
  redis.call('UNLINK', s.key .. ':index:' .. id)
  rebuild_routes(s)
end
