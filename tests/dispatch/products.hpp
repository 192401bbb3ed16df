// What the targets of products_test.cpp specialise.
#ifndef INLAY_TESTS_DISPATCH_PRODUCTS_HPP_
#define INLAY_TESTS_DISPATCH_PRODUCTS_HPP_

#include "inlay/formats/weight_type.hpp"

namespace inlay_test {

// One of each way to multiply: 8 bits, a fifth bit and a minimum, sub-scales with minima, sub-scales of 16 columns.
using ProductFormats = inlay::Formats<inlay::WeightType::kQ8_0, inlay::WeightType::kQ5_1, inlay::WeightType::kQ4_K,
                                      inlay::WeightType::kQ6_K>;

template <long long kTarget>
struct ProductOn {
  static constexpr bool kCompiled = false;
};

}  // namespace inlay_test

#endif  // INLAY_TESTS_DISPATCH_PRODUCTS_HPP_
