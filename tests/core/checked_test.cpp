#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <array>
#include <cstdint>
#include <limits>

#include "inlay/core/checked.hpp"

BOOST_AUTO_TEST_SUITE(core_checked)

BOOST_AUTO_TEST_CASE(AgreesWithWiderArithmetic) {
  const std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
  const std::array<std::uint64_t, 13> numbers = {0,         1,          2,        3,        0xFFFFFFFF, 0x100000000, 0x100000001,
                                                 1ull << 62, 1ull << 63, most / 3, most / 2, most - 1,   most};
  for (const std::uint64_t a : numbers) {
    for (const std::uint64_t b : numbers) {
      const auto product = static_cast<unsigned __int128>(a) * b;
      const auto sum = static_cast<unsigned __int128>(a) + b;
      std::uint64_t out = 0;
      BOOST_TEST(inlay::CheckedMultiply(a, b, out) == (product <= most));
      if (product <= most) BOOST_TEST(out == static_cast<std::uint64_t>(product));
      BOOST_TEST(inlay::CheckedAdd(a, b, out) == (sum <= most));
      if (sum <= most) BOOST_TEST(out == static_cast<std::uint64_t>(sum));
    }
  }
}

BOOST_AUTO_TEST_CASE(RoundsAndDividesUp) {
  for (std::size_t value = 0; value < 200; ++value) {
    for (std::size_t divisor = 1; divisor < 70; ++divisor) {
      const std::size_t rounded = inlay::RoundUp(value, divisor);
      BOOST_TEST(rounded % divisor == 0u);
      BOOST_TEST(rounded >= value);
      BOOST_TEST(rounded < value + divisor);
      BOOST_TEST(inlay::DivideUp(value, divisor) == rounded / divisor);
    }
  }
  static_assert(inlay::RoundUp(65, 64) == 128 && inlay::DivideUp(65, 64) == 2);
}

BOOST_AUTO_TEST_SUITE_END()
