// Quantised matrix products, one thread: bytes per second of one token, multiply-adds per cycle of many.
//   weights      bytes of weights per second
//   roofline     the same over the read bandwidth of one thread, measured here; for matrices larger than the cache
//   MAC/cycle    multiply-adds per cycle of the core
#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "benchmarks/support/bandwidth.hpp"
#include "benchmarks/support/clock.hpp"
#include "inlay/core/arena.hpp"
#include "inlay/core/executor.hpp"
#include "inlay/core/owned_buffer.hpp"
#include "inlay/kernels/quantize-inl.hpp"
#include "inlay/kernels/quantized_matmul-inl.hpp"

namespace {

using inlay::WeightType;
namespace target = inlay::HWY_NAMESPACE;

double ReadBandwidthOfOneThread() {
  static const double rate = [] {
    inlay::SerialExecutor serial;
    const auto bandwidth = inlay_bench::ReadBandwidth(serial);
    return bandwidth ? bandwidth->bytes_per_second : 0.0;
  }();
  return rate;
}

template <WeightType kType>
void Multiply(benchmark::State& state) {
  const auto rows = static_cast<std::size_t>(state.range(0)), cols = static_cast<std::size_t>(state.range(1));
  const auto tokens = static_cast<std::size_t>(state.range(2));
  const std::size_t bytes = inlay::PackedBytes(kType, rows, cols);
  auto weights = inlay::OwnedBuffer::Create(bytes);
  auto memory = inlay::OwnedBuffer::Create(tokens * cols * 8 + (std::size_t{1} << 20));
  if (!weights || !memory) return state.SkipWithError("out of memory");
  // Bytes of 0x30 to 0x3F make half-precision scales of about 1, and scales of MXFP4 whose products are not subnormal numbers,
  // which some processors are slow with.
  std::byte* const packed = weights->bytes().data();
  for (std::size_t i = 0; i < bytes; ++i) packed[i] = static_cast<std::byte>(0x30 + (i * 2654435761u >> 16) % 16);
  auto made = inlay::Arena::Create(memory->bytes());
  if (!made) return state.SkipWithError("arena");
  inlay::Arena& arena = *made;
  const inlay::ActivationKinds kinds = inlay::ActivationKindOf(kType);
  auto x = inlay::MakeActivations(arena, kinds, tokens, cols);
  if (!x) return state.SkipWithError("arena");
  for (std::size_t i = 0; i < tokens * x->stride; ++i) x->values[i] = static_cast<float>(i % 37) - 18.0f;
  target::QuantizeRows(kinds, cols, 0, tokens, *x);
  std::vector<float> out(tokens * rows);
  for (auto _ : state) {
    target::MatMulQuantized<kType>(packed, rows, inlay::DynamicExtent{cols}, *x, 0, tokens, 0, rows,
                                   {out.data(), rows, false});
    benchmark::ClobberMemory();
  }
  using benchmark::Counter;
  state.counters["MAC/cycle"] = Counter(static_cast<double>(rows * cols * tokens) / inlay_bench::ClockRate(),
                                        Counter::kIsIterationInvariantRate);
  state.counters["weights"] = Counter(static_cast<double>(bytes), Counter::kIsIterationInvariantRate);
  if (tokens == 1 && bytes > (std::size_t{64} << 20)) {
    state.counters["roofline"] =
        Counter(static_cast<double>(bytes) / ReadBandwidthOfOneThread(), Counter::kIsIterationInvariantRate);
  }
}

void Shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"rows", "cols", "tokens"})->Unit(benchmark::kMicrosecond);
  b->Args({32000, 4096, 1});  // from memory
  b->Args({256, 2048, 1});    // from the second-level cache
  b->Args({576, 1536, 1});
  for (const int tokens : {2, 4, 8, 16, 32, 96, 256}) b->Args({512, 2048, tokens});
  b->Args({2048, 5632, 512});
}
BENCHMARK(Multiply<WeightType::kQ4_K>)->Apply(Shapes);
BENCHMARK(Multiply<WeightType::kQ5_K>)->Apply(Shapes);
BENCHMARK(Multiply<WeightType::kQ6_K>)->Apply(Shapes);
BENCHMARK(Multiply<WeightType::kQ8_0>)->Apply(Shapes);
BENCHMARK(Multiply<WeightType::kQ4_0>)->Apply(Shapes);
BENCHMARK(Multiply<WeightType::kQ4_1>)->Apply(Shapes);
BENCHMARK(Multiply<WeightType::kQ5_0>)->Apply(Shapes);
BENCHMARK(Multiply<WeightType::kQ5_1>)->Apply(Shapes);
BENCHMARK(Multiply<WeightType::kQ2_K>)->Apply(Shapes);
BENCHMARK(Multiply<WeightType::kQ3_K>)->Apply(Shapes);
BENCHMARK(Multiply<WeightType::kIQ4_NL>)->Apply(Shapes);
BENCHMARK(Multiply<WeightType::kIQ4_XS>)->Apply(Shapes);
BENCHMARK(Multiply<WeightType::kMXFP4>)->Apply(Shapes);
BENCHMARK(Multiply<WeightType::kTQ2_0>)->Apply(Shapes);

}  // namespace
