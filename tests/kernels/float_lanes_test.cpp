// Sixteen lanes: conversions of the storage types.
#define BOOST_TEST_DYN_LINK
#include "inlay/kernels/float_lanes-inl.hpp"

#include <boost/test/unit_test.hpp>

#include <cstddef>
#include <cstdint>

#include "tests/support/half_conversions.hpp"

namespace {

namespace target = inlay::HWY_NAMESPACE;

BOOST_AUTO_TEST_SUITE(kernels_float_lanes)

BOOST_AUTO_TEST_CASE(halves_convert_as_defined) {
  inlay_test::CheckHalfConversions(
      [](const std::uint16_t* from, float* to, std::size_t n) HWY_ATTR {
        for (std::size_t i = 0; i < n; i += 16) target::Store16(target::LoadF16x16(from + i), to + i);
      },
      [](const float* from, std::uint16_t* to, std::size_t n) HWY_ATTR {
        for (std::size_t i = 0; i < n; i += 16) target::StoreF16x16(target::Load16(from + i), to + i);
      });
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
