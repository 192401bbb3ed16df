#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <array>

#include "inlay/core/extents.hpp"
#include "inlay/core/token.hpp"

namespace {

template <inlay::Extent E>
constexpr std::size_t Doubled(E extent) {
  return 2 * extent;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(core_extents)

BOOST_AUTO_TEST_CASE(StaticAndDynamicServeTheSameCode) {
  static_assert(inlay::Extent<inlay::StaticExtent<3>> && inlay::Extent<inlay::DynamicExtent>);
  static_assert(!inlay::Extent<std::size_t>);
  static_assert(Doubled(inlay::StaticExtent<21>{}) == 42);
  BOOST_TEST(Doubled(inlay::DynamicExtent{21}) == 42u);
}

BOOST_AUTO_TEST_CASE(StaticExtentIsAConstant) {
  const inlay::StaticExtent<5> extent;
  std::array<int, extent> array = {};  // compiles only when the value is known
  BOOST_TEST(array.size() == 5u);
  static_assert(sizeof(extent) == 1);
}

BOOST_AUTO_TEST_CASE(NoTokenIsNoIndex) { static_assert(inlay::kNoToken < 0); BOOST_TEST(inlay::kNoToken == -1); }

BOOST_AUTO_TEST_SUITE_END()
