// What the kernels of this build round.
#ifndef INLAY_TESTS_SUPPORT_ROUNDING_HPP_
#define INLAY_TESTS_SUPPORT_ROUNDING_HPP_

#include <boost/test/unit_test.hpp>

#include "inlay/formats/weight_type.hpp"
#include "inlay/kernels/pair_matmul-inl.hpp"

namespace inlay_test {

// Whether the activations of BF16 weights are rounded to BF16.
inline constexpr bool kRoundsBF16 = inlay::HWY_NAMESPACE::kHasPairs<inlay::WeightType::kBF16>;
// Whether F16 weights and their activations are rounded to integers.
inline constexpr bool kRoundsF16 = inlay::HWY_NAMESPACE::kHasPairs<inlay::WeightType::kF16>;

// For tests of such products alone: says so where this target has none.
inline bool SkipsF16Pairs() {
  if (!kRoundsF16) BOOST_TEST_MESSAGE("skipped: this target multiplies no pairs of int16");
  return !kRoundsF16;
}
inline bool SkipsBF16Pairs() {
  if (!kRoundsBF16) BOOST_TEST_MESSAGE("skipped: this target multiplies no pairs of BF16");
  return !kRoundsBF16;
}

}  // namespace inlay_test

#endif  // INLAY_TESTS_SUPPORT_ROUNDING_HPP_
