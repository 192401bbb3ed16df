// The matrix product of packed weights of any type with activations: one switch per product, over the types compiled in.

#include <cstddef>

#include "inlay/core/extents.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/formats/weight_type.hpp"
#include "inlay/kernels/activations.hpp"
#include "inlay/kernels/float_matmul-inl.hpp"
#include "inlay/kernels/highway.hpp"
#include "inlay/kernels/output.hpp"
#include "inlay/kernels/pair_matmul-inl.hpp"
#include "inlay/kernels/quantized_matmul-inl.hpp"

#if defined(INLAY_KERNELS_MATMUL_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_KERNELS_MATMUL_INL_HPP_
#undef INLAY_KERNELS_MATMUL_INL_HPP_
#else
#define INLAY_KERNELS_MATMUL_INL_HPP_
#endif

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {

// out.data[token * out.stride + row] (=|+=) dot(weights[row], x[token]) for tokens [token_begin, token_end) and rows
// [row_begin, row_end).
//   type       one of FormatList's, whose form of the activations (ActivationKindOf) has been filled by QuantizeRows
//   packed     the whole matrix of [rows, cols] as PackTile leaves it, at a multiple of 64
//   row_begin  a multiple of 16; row_end too, or it is `rows`. Rows beyond `rows` are neither read from `out` nor written
// Any split of tokens and rows over calls and threads gives the same bits.
template <class FormatList, Extent Cols>
void MatMul(WeightType type, const std::byte* packed, std::size_t rows, Cols cols, const Activations& x,
            std::size_t token_begin, std::size_t token_end, std::size_t row_begin, std::size_t row_end,
            const Output& out) {
  const auto multiply = [&]<WeightType kType>() HWY_ATTR {
    // Types with the same packed form share a kernel.
    if constexpr (!FormatList::Contains(kType) && !(kType == WeightType::kTQ2_0 && FormatList::Contains(WeightType::kTQ1_0))) {
      INLAY_ASSERT(false);
#if INLAY_INT16_PAIRS
    } else if constexpr (kHasPairs<kType>) {
      MatMulPairs<kType>(packed, rows, cols, x, token_begin, token_end, row_begin, row_end, out);
#endif
    } else if constexpr (Info(kType).block_values == 1) {
      MatMulFloat<kType>(packed, rows, cols, x, token_begin, token_end, row_begin, row_end, out);
    } else {
      MatMulQuantized<kType>(packed, rows, cols, x, token_begin, token_end, row_begin, row_end, out);
    }
  };
  switch (type) {
    case WeightType::kF32: return multiply.template operator()<WeightType::kF32>();
    case WeightType::kF16: return multiply.template operator()<WeightType::kF16>();
    case WeightType::kBF16: return multiply.template operator()<WeightType::kBF16>();
    case WeightType::kQ8_0: return multiply.template operator()<WeightType::kQ8_0>();
    case WeightType::kQ4_0: return multiply.template operator()<WeightType::kQ4_0>();
    case WeightType::kQ4_1: return multiply.template operator()<WeightType::kQ4_1>();
    case WeightType::kQ5_0: return multiply.template operator()<WeightType::kQ5_0>();
    case WeightType::kQ5_1: return multiply.template operator()<WeightType::kQ5_1>();
    case WeightType::kIQ4_NL: return multiply.template operator()<WeightType::kIQ4_NL>();
    case WeightType::kMXFP4: return multiply.template operator()<WeightType::kMXFP4>();
    case WeightType::kQ2_K: return multiply.template operator()<WeightType::kQ2_K>();
    case WeightType::kQ3_K: return multiply.template operator()<WeightType::kQ3_K>();
    case WeightType::kQ4_K: return multiply.template operator()<WeightType::kQ4_K>();
    case WeightType::kQ5_K: return multiply.template operator()<WeightType::kQ5_K>();
    case WeightType::kQ6_K: return multiply.template operator()<WeightType::kQ6_K>();
    case WeightType::kIQ4_XS: return multiply.template operator()<WeightType::kIQ4_XS>();
    case WeightType::kTQ1_0:
    case WeightType::kTQ2_0: return multiply.template operator()<PackedForm(WeightType::kTQ1_0)>();
    case WeightType::kI8: break;  // raw bytes, not a weight matrix
  }
  INLAY_ASSERT(false);
}

}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // toggle guard
