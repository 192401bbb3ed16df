// Where a matrix product puts its results. Layout only.
#ifndef INLAY_KERNELS_OUTPUT_HPP_
#define INLAY_KERNELS_OUTPUT_HPP_

#include <cstddef>

#include "inlay/core/macros.hpp"

INLAY_BEGIN_NAMESPACE

// Row r of the matrix times token t goes to data[t * stride + r]: stored, or added to what is there (accumulate). The sum
// of products is complete before it is added, so accumulating into zeros gives the bits of storing.
struct Output {
  float* data = nullptr;
  std::size_t stride = 0;
  bool accumulate = false;
};

INLAY_END_NAMESPACE

#endif  // INLAY_KERNELS_OUTPUT_HPP_
