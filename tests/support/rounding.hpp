// What the kernels of this build round.
#ifndef INLAY_TESTS_SUPPORT_ROUNDING_HPP_
#define INLAY_TESTS_SUPPORT_ROUNDING_HPP_

#include "inlay/formats/weight_type.hpp"
#include "inlay/kernels/float_matmul-inl.hpp"

namespace inlay_test {

// Whether the activations of BF16 weights are rounded to BF16.
inline constexpr bool kRoundsBF16 = inlay::HWY_NAMESPACE::detail::kStepColumns<inlay::WeightType::kBF16> == 2;

}  // namespace inlay_test

#endif  // INLAY_TESTS_SUPPORT_ROUNDING_HPP_
