// The library's outputs as Eigen sees them, for programs that use Eigen: views without a copy, and the similarities of many
// embeddings at once. Not part of inlay.hpp; the only header that needs Eigen (3.3 or later), and empty where it is not installed.
#ifndef INLAY_HOST_EIGEN_VIEWS_HPP_
#define INLAY_HOST_EIGEN_VIEWS_HPP_

#if __has_include(<Eigen/Core>)

#include <Eigen/Core>

#include <cstddef>
#include <span>

#include "inlay/core/macros.hpp"

INLAY_BEGIN_NAMESPACE

using EigenVectorView = Eigen::Map<const Eigen::VectorXf>;
using EigenMatrixView =
    Eigen::Map<const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>, 0, Eigen::OuterStride<>>;

// An embedding, or the logits of a position. Valid as long as what it views.
inline EigenVectorView AsEigen(std::span<const float> values) {
  return EigenVectorView(values.data(), static_cast<Eigen::Index>(values.size()));
}

// Rows that stand one after the other: embeddings [rows, dim], logits [rows, vocab]. `stride`: floats from one row to the next,
// at least `cols`.
inline EigenMatrixView AsEigen(const float* data, std::size_t rows, std::size_t cols, std::size_t stride) {
  return EigenMatrixView(data, static_cast<Eigen::Index>(rows), static_cast<Eigen::Index>(cols),
                         Eigen::OuterStride<>(static_cast<Eigen::Index>(stride)));
}

// The cosine of each row with `query`; 0 where either is zero.
template <class Rows, class Query>
Eigen::VectorXf CosineSimilarities(const Eigen::MatrixBase<Rows>& rows, const Eigen::MatrixBase<Query>& query) {
  const float query_length = query.norm();
  Eigen::VectorXf cosines = rows * query;
  for (Eigen::Index i = 0; i < cosines.size(); ++i) {
    const float lengths = rows.row(i).norm() * query_length;
    cosines[i] = lengths == 0.0f ? 0.0f : cosines[i] / lengths;
  }
  return cosines;
}

INLAY_END_NAMESPACE

#endif  // __has_include(<Eigen/Core>)

#endif  // INLAY_HOST_EIGEN_VIEWS_HPP_
