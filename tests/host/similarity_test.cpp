#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <cmath>
#include <cstddef>
#include <vector>

#include "inlay/host/eigen_views.hpp"
#include "inlay/host/similarity.hpp"
#include "tests/support/random_model.hpp"

namespace {

std::vector<float> RandomVector(std::size_t size, std::uint64_t seed) {
  inlay_test::Random random(seed);
  std::vector<float> values(size);
  for (float& value : values) value = random.Symmetric();
  return values;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(host_similarity)

BOOST_AUTO_TEST_CASE(Cosines) {
  using Vector = std::vector<float>;
  BOOST_TEST(inlay::CosineSimilarity(Vector{3, 4}, Vector{6, 8}) == 1.0);
  BOOST_TEST(inlay::CosineSimilarity(Vector{3, 4}, Vector{-3, -4}) == -1.0);
  BOOST_TEST(inlay::CosineSimilarity(Vector{3, 4}, Vector{4, -3}) == 0.0);
  BOOST_TEST(inlay::CosineSimilarity(Vector{3, 4}, Vector{4, 3}) == 0.96);
  BOOST_TEST(inlay::CosineSimilarity(Vector{0, 0}, Vector{1, 0}) == 0.0);
  // Squares beyond float.
  BOOST_TEST(std::abs(inlay::CosineSimilarity(Vector{3e30f, 4e30f}, Vector{4e-30f, 3e-30f}) - 0.96) < 1e-6);
}

BOOST_AUTO_TEST_CASE(LengthOne) {
  std::vector<float> values = RandomVector(333, 1);
  const std::vector<float> before = values;
  inlay::NormalizeLength(values);
  BOOST_TEST(std::abs(inlay::ScalarProduct(values, values) - 1.0) < 1e-6);
  BOOST_TEST(std::abs(inlay::CosineSimilarity(values, before) - 1.0) < 1e-6);
  std::vector<float> zero(3);
  inlay::NormalizeLength(zero);
  BOOST_TEST(zero == std::vector<float>(3), boost::test_tools::per_element());
}

#if __has_include(<Eigen/Core>)
BOOST_AUTO_TEST_CASE(EigenSeesTheSame) {
  constexpr std::size_t kRows = 7, kCols = 33, kStride = 40;
  std::vector<float> rows = RandomVector(kRows * kStride, 2);
  for (std::size_t c = 0; c < kCols; ++c) rows[3 * kStride + c] = 0;
  const std::vector<float> query = RandomVector(kCols, 3);
  const inlay::EigenMatrixView view = inlay::AsEigen(rows.data(), kRows, kCols, kStride);
  BOOST_TEST((view.rows() == kRows && view.cols() == kCols));
  BOOST_TEST((view.data() == rows.data() && view(2, 5) == rows[2 * kStride + 5]));
  const Eigen::VectorXf cosines = inlay::CosineSimilarities(view, inlay::AsEigen(query));
  BOOST_REQUIRE(cosines.size() == static_cast<Eigen::Index>(kRows));
  for (std::size_t r = 0; r < kRows; ++r) {
    const double expected = inlay::CosineSimilarity(std::span(rows).subspan(r * kStride, kCols), query);
    BOOST_TEST(std::abs(static_cast<double>(cosines[static_cast<Eigen::Index>(r)]) - expected) < 1e-6);
  }
  BOOST_TEST(cosines[3] == 0.0f);
}
#endif

BOOST_AUTO_TEST_SUITE_END()
