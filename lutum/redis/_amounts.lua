-- The ledger script, part 1: keys, amounts and scopes. All parts are sent as one script.
--
-- ARGV: key prefix, process, sequence number of this batch, epoch that the process knows, heartbeat TTL in ms,
-- operations (MessagePack), an epoch to begin with (empty: the ledger must exist).
-- An amount is {i, o, u, p}: input and output tokens, thousandths of a US dollar, and the rest in pico-USD.
-- Money is two numbers, because a Lua number is exact only up to 2^53, which is 9,007 dollars in pico-USD.

local P, PROC, SEQ, EPOCH, TTL = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])
local time = redis.call('TIME')
local NOW = time[1] * 1000 + math.floor(time[2] / 1000)
local DAY, MONTH = 86400000, 30 * 86400000
local MILLI = 1000000000 -- pico-USD in a thousandth of a dollar
local pack, unpack_ = cmsgpack.pack, cmsgpack.unpack

-- If the server lost the ledger's data, the ledger is not taken for a new ledger while a process knows its epoch.
local meta_key = P .. 'meta'
local found = redis.call('HMGET', meta_key, 'epoch', 'lost', 'seeded', 'prior', 'offered')
local epoch, lost, seeded, prior, offered = found[1], found[2] == '1', found[3] == '1', found[4] or '', found[5]

if not epoch then
  if EPOCH == '' and ARGV[7] == '' then return pack({ 'missing' }) end
  epoch, lost = ARGV[7] ~= '' and ARGV[7] or EPOCH .. '+', EPOCH ~= ''
  redis.call('HSET', meta_key, 'epoch', epoch, 'lost', lost and '1' or '0', 'prior', EPOCH, 'version', '1', 'born', NOW)
  if lost then return pack({ 'lost', epoch }) end
elseif EPOCH ~= '' and EPOCH ~= epoch then
  if not string.find(' ' .. prior .. ' ', ' ' .. EPOCH .. ' ', 1, true) then
    redis.call('HSET', meta_key, 'lost', '1', 'seeded', '0', 'prior', prior .. ' ' .. EPOCH)
  end
  return pack({ 'lost', epoch })
end

local function money(u, p)
  local carry = math.floor(p / MILLI)
  return u + carry, p - carry * MILLI
end

local function plus(a, b, sign)
  local u, p = money(a[3] + sign * b[3], a[4] + sign * b[4])
  return { a[1] + sign * b[1], a[2] + sign * b[2], u, p }
end

local ZERO = { 0, 0, 0, 0 }

-- Scopes: one hash for each limit. They are read once in a call, and written back at its end.
local FIELDS = { 'lt', 'lu', 'lp', 'per', 'tz', 'at', 'ws', 'we', 'si', 'so', 'su', 'sp', 'rt', 'ru', 'rp', 'kn', 'stop' }
local WORDS = { per = true, tz = true, stop = true }
local COUNTED = { si = true, so = true, su = true, sp = true, rt = true, ru = true, rp = true, kn = true }
local scopes, touched = {}, {}

local function scope(name)
  local s = scopes[name]
  if s then return s end
  s = { name = name }
  local found = redis.call('HMGET', P .. 'scope:' .. name, unpack(FIELDS))
  for i, field in ipairs(FIELDS) do
    local value = found[i]
    if value and value ~= '' then
      s[field] = WORDS[field] and value or tonumber(value)
    elseif COUNTED[field] then
      s[field] = 0
    end
  end
  if s.we and NOW >= s.we then -- the limit's period has ended; open leases count in the next period
    s.si, s.so, s.su, s.sp, s.kn = 0, 0, 0, 0, 0
    s.ws, s.we = s.we, nil
    s.dirty, s.rolled = true, true
  end
  scopes[name] = s
  touched[#touched + 1] = s
  return s
end

local function save_scopes()
  for _, s in ipairs(touched) do
    if s.dirty then
      local pairs_ = {}
      for _, field in ipairs(FIELDS) do
        local value = s[field]
        if value == nil then
          value = ''
        elseif not WORDS[field] then
          value = string.format('%.0f', value)
        end
        pairs_[#pairs_ + 1] = field
        pairs_[#pairs_ + 1] = value
      end
      redis.call('HSET', P .. 'scope:' .. s.name, unpack(pairs_))
      redis.call('SADD', P .. 'scopes', s.name)
    end
  end
end

local function hold(s, a, sign)
  s.rt = math.max(0, s.rt + sign * (a[1] + a[2]))
  s.ru, s.rp = money(s.ru + sign * a[3], s.rp + sign * a[4])
  if s.ru < 0 then s.ru, s.rp = 0, 0 end
  s.dirty = true
end

local function spend(s, a, sign, known)
  s.si, s.so = math.max(0, s.si + sign * a[1]), math.max(0, s.so + sign * a[2])
  s.su, s.sp = money(s.su + sign * a[3], s.sp + sign * a[4])
  if s.su < 0 then s.su, s.sp = 0, 0 end
  if known and known > s.kn then s.kn = known end
  s.dirty = true
end

-- Return the part of an amount that does not fit: 'tokens', 'cost' or nil. If `held` is false, open leases do not
-- count.
local function lacks(s, a, held)
  if s.lt and s.si + s.so + (held and s.rt or 0) + a[1] + a[2] > s.lt then return 'tokens' end
  if s.lu then
    local u, p = money(
      s.su + (held and s.ru or 0) + a[3] - s.lu,
      s.sp + (held and s.rp or 0) + a[4] - s.lp
    )
    if u > 0 or (u == 0 and p > 0) then return 'cost' end
  end
  return nil
end

local function limited(s)
  return s.lt or s.lu
end

-- Return a row of a reply: the figures of a limit.
local function row(s)
  local queued = redis.call('EXISTS', P .. 'at:' .. s.name)
  return {
    s.name, s.lt or -1, s.lu or -1, s.lp or 0, s.si, s.so, s.su, s.sp, s.rt, s.ru, s.rp, s.kn,
    s.per or '', s.tz or '', s.ws or 0, s.we or 0, s.stop or '', queued,
  }
end
