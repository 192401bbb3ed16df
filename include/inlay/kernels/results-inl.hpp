// Finished products on their way from a kernel's buffer to the output.

#include <cstddef>

#include "inlay/core/macros.hpp"
#include "inlay/kernels/highway.hpp"
#include "inlay/kernels/output.hpp"

#if defined(INLAY_KERNELS_RESULTS_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_KERNELS_RESULTS_INL_HPP_
#undef INLAY_KERNELS_RESULTS_INL_HPP_
#else
#define INLAY_KERNELS_RESULTS_INL_HPP_
#endif

#include "inlay/kernels/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Stores or adds the results of `tokens` tokens, `stride` (a multiple of 16) apart; `rows` of them exist.
inline HWY_NOINLINE void StoreResults(const float* HWY_RESTRICT results, std::size_t stride, std::size_t tokens, std::size_t rows,
                               const Output& out, std::size_t token, std::size_t row) {
  const FloatTag df;
  const std::size_t whole = rows / kWordLanes * kWordLanes;
  for (std::size_t t = 0; t < tokens; ++t) {
    float* HWY_RESTRICT to = out.data + (token + t) * out.stride + row;
    const float* HWY_RESTRICT from = results + t * stride;
    if (out.accumulate) {
      for (std::size_t r = 0; r < whole; r += kWordLanes) {
        hn::StoreU(hn::Add(hn::LoadU(df, to + r), hn::Load(df, from + r)), df, to + r);
      }
      for (std::size_t r = whole; r < rows; ++r) to[r] += from[r];
    } else {
      for (std::size_t r = 0; r < whole; r += kWordLanes) hn::StoreU(hn::Load(df, from + r), df, to + r);
      for (std::size_t r = whole; r < rows; ++r) to[r] = from[r];
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // toggle guard
