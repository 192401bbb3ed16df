// Matrix products of a layer: normalise and quantise the input once, then cut the matrix's rows over the threads.

#include <array>
#include <cstddef>

#include "inlay/core/executor.hpp"
#include "inlay/core/extents.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/kernels/activations.hpp"
#include "inlay/kernels/output.hpp"
#include "inlay/layers/partition.hpp"
#include "inlay/weights/packed_weights.hpp"

#if defined(INLAY_LAYERS_LINEAR_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_LAYERS_LINEAR_INL_HPP_
#undef INLAY_LAYERS_LINEAR_INL_HPP_
#else
#define INLAY_LAYERS_LINEAR_INL_HPP_
#endif

#include "inlay/kernels/elementwise-inl.hpp"
#include "inlay/kernels/matmul-inl.hpp"
#include "inlay/kernels/quantize-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {

// The input representations that a group of matrices multiplies with.
template <class... Matrices>
HWY_INLINE ActivationKinds KindsFor(const Matrices&... matrices) {
  return static_cast<ActivationKinds>((ActivationKindOf(matrices.type) | ...));
}

// out = RMSNorm(x) * weight, in the representations that `kinds` names.  x: [tokens, cols], rows `cols` apart.
template <Extent Cols>
HWY_INLINE void NormalizeRows(const float* x, const float* weight, float epsilon, Cols cols, std::size_t tokens,
                              ActivationKinds kinds, const Activations& out, ExecutorRef executor) {
  ForTokenRanges(executor, tokens, [&](std::size_t begin, std::size_t end) HWY_ATTR {
    for (std::size_t t = begin; t < end; ++t) RmsNorm(x + t * cols, weight, cols, epsilon, out.values + t * out.stride);
    QuantizeRows(kinds, cols, begin, end, out);
  });
}

// The quantised forms of activations whose values another step has left in place.
HWY_INLINE void QuantizeForProduct(ActivationKinds kinds, std::size_t cols, std::size_t tokens, const Activations& x,
                                   ExecutorRef executor) {
  if ((kinds & ~kActivationFloat) == 0) return;
  ForTokenRanges(executor, tokens, [&](std::size_t begin, std::size_t end) HWY_ATTR {
    QuantizeRows(kinds, cols, begin, end, x);
  });
}

// out (=|+=) x * matrix^T for all tokens.  x: [tokens, cols], matrix: [rows, cols], out: [tokens, rows].
template <class FormatList, Extent Cols>
HWY_INLINE void Multiply(WeightType type, const std::byte* matrix, std::size_t rows, Cols cols, const Activations& x,
                         std::size_t tokens, const Output& out, ExecutorRef executor) {
  ForRowRanges(executor, std::array{rows}, kRowTile, rows * cols * tokens,
               [&](std::size_t, std::size_t begin, std::size_t end) HWY_ATTR {
                 MatMul<FormatList>(type, matrix, rows, cols, x, 0, tokens, begin, end, out);
               });
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // INLAY_LAYERS_LINEAR_INL_HPP_
