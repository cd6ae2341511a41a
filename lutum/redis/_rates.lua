-- Part 2: rates. There is one bucket for each kind and period. A bucket stores the instant at which it is full
-- again. If it has `used`, it is a window that ends at this instant. `lutum/_budget/rate_limits.py` does the same
-- for one process.

local R = nil
local KINDS = { 'requests', 'tokens', 'input', 'output' }

local function rates()
  if R == nil then
    local found = redis.call('GET', P .. 'rates')
    R = found and unpack_(found) or false
  end
  return R
end

local function save_rates()
  if R and R.dirty then
    R.dirty = nil
    redis.call('SET', P .. 'rates', pack(R))
  end
end

local function new_rates()
  if not rates() then
    R = { buckets = {}, nb = 0, unknown = 0, slow = 1, inflight = 0, unseen = {}, answered = {}, tpm = 0 }
    for _, kind in ipairs(KINDS) do R.unseen[kind], R.answered[kind] = 0, 0 end
  end
  R.dirty = true
  return R
end

local function drawn(a, requests)
  return { requests = requests, tokens = a[1] + a[2], input = a[1], output = a[2] }
end

local function turn_window(b)
  if NOW >= b.full then b.used, b.full = math.max(0, b.used - b.limit), NOW + b.period end
end

local function bucket_due(b, n)
  if not b.used then return math.max(NOW, b.full + math.min(0, n - b.limit) * b.period / b.limit) end
  local used, at = b.used, NOW
  if NOW >= b.full then used = math.max(0, used - b.limit) else at = b.full end
  local wanted = math.min(n, b.limit)
  if used + wanted <= b.limit then return NOW end
  local owed = math.max(0, used - b.limit) + wanted - 1
  return (at > NOW and at or NOW + b.period) + math.floor(owed / b.limit) * b.period
end

local function bucket_draw(b, n)
  if b.used then
    turn_window(b)
    b.used = math.max(0, b.used + n)
  else
    b.full = math.max(NOW, b.full) + n * b.period / b.limit
  end
end

local function rates_draw(amounts)
  for _, b in pairs(R.buckets) do bucket_draw(b, amounts[b.kind]) end
  R.dirty = true
end

-- Return when a request of that size may be sent: nil for now, math.huge until an answer reports the rates.
local function rates_due(a)
  if not rates() then return nil end
  if R.unknown == 1 and R.inflight >= R.slow then return math.huge end
  local due, amounts = math.max(NOW, R.nb), drawn(a, 1)
  for _, b in pairs(R.buckets) do due = math.max(due, bucket_due(b, amounts[b.kind])) end
  return due > NOW and due or nil
end

local function rates_too_large(a)
  return rates() and R.tpm > 0 and a[1] + a[2] > R.tpm
end

-- Record that a request is sent. Return a value for its lease, which is used when the answer arrives.
local function rates_sent(a)
  R.inflight = R.inflight + 1
  local amounts, snapshot = drawn(a, 1), {}
  for _, kind in ipairs(KINDS) do
    R.unseen[kind] = R.unseen[kind] + amounts[kind]
    snapshot[kind] = R.answered[kind]
  end
  R.dirty = true
  return snapshot
end

local function rates_forget(lease)
  if lease.rates then
    R.inflight = math.max(0, R.inflight - 1)
    local amounts = drawn(lease.drawn, 1)
    for _, kind in ipairs(KINDS) do
      R.unseen[kind] = math.max(0, R.unseen[kind] - amounts[kind])
      R.answered[kind] = R.answered[kind] + amounts[kind]
    end
    lease.rates = nil
    R.dirty = true
  end
end

local function rates_take(lease)
  if not rates() then return end
  rates_draw(drawn(lease.a, 1))
  lease.drawn, lease.rates = lease.a, rates_sent(lease.a)
end

local function rates_grow(a)
  if rates() then rates_draw(drawn(a, 0)) end
end

local function rates_retry(lease)
  if not rates() then return end
  rates_forget(lease)
  for _, b in pairs(R.buckets) do
    local n = drawn(lease.a, 1)[b.kind]
    bucket_draw(b, (b.kind == 'requests' or not b.refunds) and n or 0)
  end
  lease.drawn, lease.rates = lease.a, rates_sent(lease.a)
end

-- Correct the amount that a turn has drawn, when the turn is over. If nothing was sent, give the whole amount back.
local function rates_settle(lease, used, unsent)
  if not (rates() and lease.drawn) then return end
  rates_forget(lease)
  local change = drawn(plus(used, lease.a, -1), unsent and -1 or 0)
  for _, b in pairs(R.buckets) do
    if unsent or b.refunds or change[b.kind] > 0 then bucket_draw(b, change[b.kind]) end
  end
  R.dirty = true
end

-- `reported` has a row for each limit in the headers of the answer: {kind, limit, left, period in ms, full in ms
-- or -1, refunds}.
local function rates_learn(lease, wait, reported)
  if not rates() or R.follow ~= 1 then return -1 end
  local snapshot, since = lease.rates, {}
  for _, kind in ipairs(KINDS) do since[kind] = R.answered[kind] end
  rates_forget(lease)
  if not snapshot then return -1 end
  if wait >= 0 then R.nb = math.max(R.nb, NOW + wait) end
  R.slow = R.slow + 1
  for _, said in ipairs(reported) do
    local kind, limit, left, period, full, refunds = unpack(said)
    R.unknown = 0
    local key = kind .. '|' .. period
    local b = R.buckets[key]
    local unseen = R.unseen[kind] + since[kind] - snapshot[kind]
    if not (b and b.fixed) then
      if not b then
        b = { kind = kind, limit = limit, period = period, full = 0, refunds = refunds }
        if full >= 0 then b.used = 0 end
        R.buckets[key] = b
        bucket_draw(b, R.unseen[kind])
      end
      local told = limit - left
      if b.used then
        turn_window(b)
        b.limit, b.used, b.full = limit, math.max(b.used, told), NOW + math.max(0, full)
      else
        local used = math.max(0, b.full - NOW) * b.limit / b.period
        if not refunds then used = math.min(used, told + unseen) end
        b.limit, b.period, b.full = limit, period, NOW + math.max(used, told) * period / limit
      end
    end
  end
  R.dirty = true
  if #reported == 0 then return -1 end
  local due = NOW
  for _, b in pairs(R.buckets) do
    local n = drawn(lease.a, 1)[b.kind]
    due = math.max(due, bucket_due(b, (b.kind == 'requests' or not b.refunds) and n or 0))
  end
  return due - NOW
end
