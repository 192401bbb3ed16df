// Attention of one key/value head, or of as many as do not fit a cache: decode in bytes of the cache read per second,
// prefill in multiply-adds per cycle (two per query, position and dimension).
#include "inlay/kernels/attention-inl.hpp"

#include <benchmark/benchmark.h>

#include <cmath>
#include <cstddef>
#include <random>
#include <vector>

#include "benchmarks/support/clock.hpp"

namespace {

using inlay::KvType;
namespace target = inlay::HWY_NAMESPACE;

struct Cache {
  Cache(KvType type, std::size_t head_dim, std::size_t positions, std::size_t kv_heads)
      : capacity(inlay::KvCapacity(positions)), head_bytes(inlay::KvKeyBytes(type, head_dim, capacity)) {
    bytes.resize(2 * kv_heads * head_bytes + 64);
    base = bytes.data() + (64 - reinterpret_cast<std::uintptr_t>(bytes.data()) % 64) % 64;
  }
  std::byte* keys(std::size_t head) { return base + 2 * head * head_bytes; }
  std::byte* values(std::size_t head) { return base + (2 * head + 1) * head_bytes; }
  std::size_t capacity, head_bytes;
  std::vector<std::byte> bytes;
  std::byte* base;
};

std::vector<float> Random(std::size_t n) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> x(n);
  for (float& value : x) value = normal(random);
  return x;
}

// `tokens` queries of `group` heads after `position` positions, over `kv_heads` heads in turn.
template <KvType kType, inlay::Extent HeadDim>
void Attend(benchmark::State& state, HeadDim head_dim, std::size_t group, std::size_t position, std::size_t tokens,
            std::size_t kv_heads) {
  Cache cache(kType, head_dim, position + tokens, kv_heads);
  const auto row = Random(head_dim);
  for (std::size_t head = 0; head < kv_heads; ++head) {
    for (std::size_t p = 0; p < position + tokens; ++p) {
      target::StoreKey<kType>(cache.keys(head), head_dim, cache.capacity, p, row.data());
      target::StoreValue<kType>(cache.values(head), head_dim, cache.capacity, p, row.data());
    }
  }
  inlay::AttentionShape shape;
  shape.group = group;
  shape.capacity = cache.capacity;
  shape.scale = 1.0f / std::sqrt(static_cast<float>(std::size_t{head_dim}));
  const std::size_t stride = group * head_dim;
  const auto queries = Random(tokens * stride);
  std::vector<float> out(tokens * stride), scratch(inlay::AttentionScratchFloats(head_dim, head_dim) + 16);
  float* memory = scratch.data() + (64 - reinterpret_cast<std::uintptr_t>(scratch.data()) % 64) % 64 / 4;
  for (auto _ : state) {
    for (std::size_t head = 0; head < kv_heads; ++head) {
      target::AttendTokens<kType>(shape, cache.keys(head), cache.values(head), head_dim, head_dim, queries.data(), stride, position,
                                  0, tokens, out.data(), stride, memory);
    }
    benchmark::ClobberMemory();
  }
  const double seen = static_cast<double>(tokens * position + tokens * (tokens + 1) / 2);
  const double macs = 2.0 * static_cast<double>(kv_heads * group * head_dim) * seen;
  state.counters["MAC/cycle"] =
      benchmark::Counter(macs / inlay_bench::ClockRate(), benchmark::Counter::kIsIterationInvariantRate);
  if (tokens == 1) {
    const double bytes = 2.0 * static_cast<double>(kv_heads * cache.head_bytes) / static_cast<double>(cache.capacity) *
                         static_cast<double>(position + 1);
    state.counters["cache"] = benchmark::Counter(bytes, benchmark::Counter::kIsIterationInvariantRate);
  }
}

// stories260K: 4 key/value heads of 8, two query heads each.
template <KvType kType>
void Tiny(benchmark::State& state) {
  Attend<kType>(state, inlay::StaticExtent<8>(), 2, static_cast<std::size_t>(state.range(0)), 1, 4);
}
BENCHMARK(Tiny<KvType::kF32>)->Arg(10)->Arg(100)->Arg(250)->Arg(500);
BENCHMARK(Tiny<KvType::kF16>)->Arg(250);
// stories15M: 6 heads of 48.
template <KvType kType>
void Small(benchmark::State& state) {
  Attend<kType>(state, inlay::StaticExtent<48>(), 1, static_cast<std::size_t>(state.range(0)), 1, 6);
}
BENCHMARK(Small<KvType::kF32>)->Arg(100)->Arg(250);

// Arguments: head_dim, query heads per key/value head, position.
template <KvType kType>
void Decode(benchmark::State& state) {
  Attend<kType>(state, inlay::DynamicExtent{static_cast<std::size_t>(state.range(0))},
                static_cast<std::size_t>(state.range(1)), static_cast<std::size_t>(state.range(2)), 1, 32);
}
void DecodeShapes(benchmark::internal::Benchmark* b) {
  for (const int head_dim : {64, 128}) {
    for (const int group : {1, 4, 8}) b->Args({head_dim, group, 4095});
  }
  b->Args({64, 8, 16383});
}
BENCHMARK(Decode<KvType::kF32>)->Apply(DecodeShapes);
BENCHMARK(Decode<KvType::kF16>)->Apply(DecodeShapes);
BENCHMARK(Decode<KvType::kBF16>)->Apply(DecodeShapes);
BENCHMARK(Decode<KvType::kQ8>)->Apply(DecodeShapes);
BENCHMARK(Decode<KvType::kQ4>)->Apply(DecodeShapes);

// Arguments: head_dim, query heads per key/value head, position, tokens.
template <KvType kType>
void Prefill(benchmark::State& state) {
  Attend<kType>(state, inlay::DynamicExtent{static_cast<std::size_t>(state.range(0))},
                static_cast<std::size_t>(state.range(1)), static_cast<std::size_t>(state.range(2)),
                static_cast<std::size_t>(state.range(3)), 1);
}
void PrefillShapes(benchmark::internal::Benchmark* b) {
  for (const int head_dim : {64, 128}) {
    b->Args({head_dim, 4, 0, 64});
    b->Args({head_dim, 4, 0, 512});
    b->Args({head_dim, 1, 0, 512});
    b->Args({head_dim, 4, 4096, 64});
  }
  b->Args({64, 4, 16384, 64});
}
BENCHMARK(Prefill<KvType::kF32>)->Apply(PrefillShapes);
BENCHMARK(Prefill<KvType::kF16>)->Apply(PrefillShapes);
BENCHMARK(Prefill<KvType::kBF16>)->Apply(PrefillShapes);
BENCHMARK(Prefill<KvType::kQ8>)->Apply(PrefillShapes);
BENCHMARK(Prefill<KvType::kQ4>)->Apply(PrefillShapes);

}  // namespace
