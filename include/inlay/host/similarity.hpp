// How alike two embeddings are. Plain loops in double: a few thousand values, summed in one order, so that the same vectors
// compare the same everywhere. For many vectors at once see eigen_views.hpp.
#ifndef INLAY_HOST_SIMILARITY_HPP_
#define INLAY_HOST_SIMILARITY_HPP_

#include <cmath>
#include <cstddef>
#include <span>

#include "inlay/core/macros.hpp"

INLAY_BEGIN_NAMESPACE

// The scalar product of two vectors of one size.
inline double ScalarProduct(std::span<const float> a, std::span<const float> b) {
  INLAY_ASSERT(a.size() == b.size());
  double sum = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

// -1 (opposite) .. 1 (same direction); 0 where a vector is zero.
inline double CosineSimilarity(std::span<const float> a, std::span<const float> b) {
  const double lengths = std::sqrt(ScalarProduct(a, a)) * std::sqrt(ScalarProduct(b, b));
  return lengths == 0.0 ? 0.0 : ScalarProduct(a, b) / lengths;
}

// Scales to length 1, so that a scalar product is the cosine. A zero vector stays.
inline void NormalizeLength(std::span<float> vector) {
  const double length = std::sqrt(ScalarProduct(vector, vector));
  if (length == 0.0) return;
  for (float& value : vector) value = static_cast<float>(static_cast<double>(value) / length);
}

INLAY_END_NAMESPACE

#endif  // INLAY_HOST_SIMILARITY_HPP_
