// The activations of one matrix product, in the representations that the weight types multiply with. Layout only.
#ifndef INLAY_KERNELS_ACTIVATIONS_HPP_
#define INLAY_KERNELS_ACTIVATIONS_HPP_

#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include "inlay/core/arena.hpp"
#include "inlay/core/checked.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"
#include "inlay/formats/weight_type.hpp"
#include "inlay/kernels/packed_layout.hpp"

INLAY_BEGIN_NAMESPACE

// A set of representations; bits may be combined.
using ActivationKinds = std::uint8_t;
inline constexpr ActivationKinds kActivationFloat = 1;     // float32: F32, F16, BF16 weights
inline constexpr ActivationKinds kActivationBlock32 = 2;   // int8, one float32 scale per 32: Q8_0, Q4_0, Q4_1, Q5_0, Q5_1
inline constexpr ActivationKinds kActivationBlock256 = 4;  // int8, one float32 scale per 256: K-quants
// Where the processor multiplies pairs of 16-bit numbers (pair_matmul-inl.hpp):
inline constexpr ActivationKinds kActivationBF16 = 8;    // BF16 weights
inline constexpr ActivationKinds kActivationInt16 = 16;  // int16, one float32 scale per 64: F16 weights

// What a product with weights of this type reads, on any processor that this translation unit may run on.
constexpr ActivationKinds ActivationKindOf(WeightType type) {
#if defined(__AVX512BF16__)
  if (type == WeightType::kBF16) return kActivationFloat | kActivationBF16;
#endif
#if defined(__x86_64__) || defined(_M_X64)
  if (type == WeightType::kF16) return kActivationFloat | kActivationInt16;
#endif
  switch (Info(type).block_values) {
    case 1: return kActivationFloat;
    case 32: return kActivationBlock32;
    default: return kActivationBlock256;
  }
}

// int8 values, rounded to nearest even, in blocks along a row. Rows of tokens are `value_stride` apart.
//   values [tokens, value_stride]   scales [tokens, scale_stride]: value = scale * int8
//   sums   [tokens, sum_stride]: sums of the int8 values, which pay for the unsigned offset of the weights.
//     Block32: one per 32 values. Block256: per block 16 sums of 16 values, then 8 sums of 32 values (24 int16).
struct QuantizedRows {
  std::int8_t* values = nullptr;
  float* scales = nullptr;
  std::int16_t* sums = nullptr;
  std::size_t value_stride = 0;
  std::size_t scale_stride = 0;
  std::size_t sum_stride = 0;
};

// 16-bit values [tokens, value_stride]: BF16, or int16 with scales [tokens, scale_stride], one per kInt16Block. Rows end with
// zeros, up to a multiple of 64.
struct PairedRows {
  std::uint16_t* values = nullptr;
  float* scales = nullptr;
  std::size_t value_stride = 0;
  std::size_t scale_stride = 0;
};

// One [tokens, cols] matrix of activations. `values` is always there; the other forms as asked for.
struct Activations {
  float* values = nullptr;
  std::size_t stride = 0;
  QuantizedRows block32;
  QuantizedRows block256;
  PairedRows bf16;
  PairedRows int16;
};

namespace detail {
constexpr std::size_t SumsPerRow(ActivationKinds kind, std::size_t cols) {
  return kind == kActivationBlock32 ? DivideUp(cols, 32) : 24 * DivideUp(cols, 256);
}
}  // namespace detail

// Makes room for [tokens, cols] in an arena (or counts the bytes with a MemoryCounter).
template <class Memory>
INLAY_COLD constexpr Result<Activations> MakeActivations(Memory& arena, ActivationKinds kinds, std::size_t tokens,
                                                         std::size_t cols) {
  Activations x;
  x.stride = RoundUp(cols, 16);
  INLAY_ASSIGN_OR_RETURN(const auto values, arena.template Allocate<float>(tokens * x.stride, "activations"));
  x.values = values.data();
  for (const ActivationKinds kind : {kActivationBlock32, kActivationBlock256}) {
    if ((kinds & kind) == 0) continue;
    QuantizedRows& rows = kind == kActivationBlock32 ? x.block32 : x.block256;
    // An odd number of cache lines: rows a power of two apart would share a few sets of the cache, and loads would wait for
    // unrelated stores that agree in the low address bits.
    rows.value_stride = RoundUp(cols, 64) | 64;
    rows.scale_stride = DivideUp(cols, kind == kActivationBlock32 ? 32 : 256);
    rows.sum_stride = detail::SumsPerRow(kind, cols);
    INLAY_ASSIGN_OR_RETURN(const auto ints, arena.template Allocate<std::int8_t>(tokens * rows.value_stride, "activations"));
    INLAY_ASSIGN_OR_RETURN(const auto scales, arena.template Allocate<float>(tokens * rows.scale_stride, "activations"));
    INLAY_ASSIGN_OR_RETURN(const auto sums, arena.template Allocate<std::int16_t>(tokens * rows.sum_stride, "activations"));
    rows.values = ints.data();
    rows.scales = scales.data();
    rows.sums = sums.data();
  }
  for (const ActivationKinds kind : {kActivationBF16, kActivationInt16}) {
    if ((kinds & kind) == 0) continue;
    PairedRows& rows = kind == kActivationBF16 ? x.bf16 : x.int16;
    rows.value_stride = RoundUp(cols, 64) | 32;  // an odd number of cache lines
    INLAY_ASSIGN_OR_RETURN(const auto halves, arena.template Allocate<std::uint16_t>(tokens * rows.value_stride, "activations"));
    rows.values = halves.data();
    if (kind == kActivationBF16) continue;
    rows.scale_stride = DivideUp(cols, kInt16Block);
    INLAY_ASSIGN_OR_RETURN(const auto scales, arena.template Allocate<float>(tokens * rows.scale_stride, "activations"));
    rows.scales = scales.data();
  }
  return x;
}

// The same rows without the first `row`.
constexpr Activations RowsFrom(Activations x, std::size_t row) {
  x.values += row * x.stride;
  for (QuantizedRows* rows : {&x.block32, &x.block256}) {
    if (rows->values == nullptr) continue;
    rows->values += row * rows->value_stride;
    rows->scales += row * rows->scale_stride;
    rows->sums += row * rows->sum_stride;
  }
  for (PairedRows* rows : {&x.bf16, &x.int16}) {
    if (rows->values == nullptr) continue;
    rows->values += row * rows->value_stride;
    if (rows->scales != nullptr) rows->scales += row * rows->scale_stride;
  }
  return x;
}

INLAY_END_NAMESPACE

#endif  // INLAY_KERNELS_ACTIVATIONS_HPP_
