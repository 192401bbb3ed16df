// Float matrix products: nanoseconds of the tiny ones, bytes per second of one token, multiply-adds per cycle of many.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <vector>

#include "benchmarks/support/clock.hpp"
#include "inlay/core/arena.hpp"
#include "inlay/core/owned_buffer.hpp"
#include "inlay/formats/weight_type.hpp"
#include "inlay/kernels/matmul-inl.hpp"
#include "inlay/kernels/quantize-inl.hpp"

namespace {

using inlay::WeightType;
namespace target = inlay::HWY_NAMESPACE;

template <WeightType kType, inlay::Extent Cols>
void Multiply(benchmark::State& state, std::size_t rows, Cols cols, std::size_t tokens) {
  std::vector<std::byte> memory(inlay::PackedBytes(kType, rows, cols) + 64);
  std::byte* packed = memory.data() + (64 - reinterpret_cast<std::uintptr_t>(memory.data()) % 64) % 64;
  for (std::size_t i = 0; i < inlay::PackedBytes(kType, rows, cols); i += 2) {
    const std::uint16_t bits = 0x3C00;
    std::memcpy(packed + i, &bits, 2);
  }
  const inlay::ActivationKinds kinds = inlay::ActivationKindOf(kType);
  inlay::MemoryCounter counter;
  (void)inlay::MakeActivations(counter, kinds, tokens, cols);
  inlay::OwnedBuffer buffer = *inlay::OwnedBuffer::Create(counter.used());
  inlay::Arena arena = *inlay::Arena::Create(buffer.bytes());
  const inlay::Activations activations = *inlay::MakeActivations(arena, kinds, tokens, cols);
  std::fill_n(activations.values, tokens * activations.stride, 1.0f);
  target::QuantizeRows(kinds, cols, 0, tokens, activations);
  std::vector<float> out(tokens * rows);
  for (auto _ : state) {
    target::MatMul<inlay::Formats<kType>>(kType, packed, rows, cols, activations, 0, tokens, 0, rows,
                                          {out.data(), rows, false});
    benchmark::ClobberMemory();
  }
  const double macs = static_cast<double>(rows * cols * tokens);
  state.counters["MAC/cycle"] =
      benchmark::Counter(macs / inlay_bench::ClockRate(), benchmark::Counter::kIsIterationInvariantRate);
  state.counters["weights"] = benchmark::Counter(static_cast<double>(inlay::PackedBytes(kType, rows, cols)),
                                                 benchmark::Counter::kIsIterationInvariantRate);
}

// The matrices of stories260K and stories15M, one token.
template <std::size_t kRows, std::size_t kCols>
void Tiny(benchmark::State& state) {
  Multiply<WeightType::kF32>(state, kRows, inlay::StaticExtent<kCols>(), 1);
}
template <std::size_t kRows, std::size_t kCols>
void TinyDynamic(benchmark::State& state) {
  Multiply<WeightType::kF32>(state, kRows, inlay::DynamicExtent{kCols}, 1);
}
BENCHMARK(Tiny<64, 64>);
BENCHMARK(TinyDynamic<64, 64>);
BENCHMARK(Tiny<32, 64>);
BENCHMARK(Tiny<172, 64>);
BENCHMARK(Tiny<64, 172>);
BENCHMARK(Tiny<512, 64>);
BENCHMARK(Tiny<288, 288>);
BENCHMARK(TinyDynamic<288, 288>);
BENCHMARK(Tiny<768, 288>);
BENCHMARK(Tiny<288, 768>);

template <WeightType kType>
void Large(benchmark::State& state) {
  Multiply<kType>(state, static_cast<std::size_t>(state.range(0)),
                  inlay::DynamicExtent{static_cast<std::size_t>(state.range(1))},
                  static_cast<std::size_t>(state.range(2)));
}
void Shapes(benchmark::internal::Benchmark* b) {
  for (const int tokens : {1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 256, 512}) b->Args({2048, 2048, tokens});
  b->Args({32000, 4096, 1});
  b->Args({4096, 4096, 128});
  b->Args({1024, 8192, 128});
  b->Args({32, 256, 48});
  b->Args({32, 1024, 48});
  b->Args({32, 2048, 48});
  b->Args({32, 2048, 128});
  b->Args({32, 256, 128});
}
BENCHMARK(Large<WeightType::kF32>)->Apply(Shapes);
BENCHMARK(Large<WeightType::kF16>)->Apply(Shapes);
BENCHMARK(Large<WeightType::kBF16>)->Apply(Shapes);

}  // namespace
