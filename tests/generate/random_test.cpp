#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <cstdint>

#include "inlay/generate/random.hpp"

namespace {

// The first numbers of the reference implementation's demonstration (pcg-c-basic, seed 42, stream 54).
constexpr bool MatchesReference() {
  inlay::Pcg32 random(42, 54);
  for (const std::uint32_t expected : {0xa15c02b7u, 0x7b47f409u, 0xba1d3330u, 0x83d2f293u, 0xbfa4784bu, 0xcbed606eu}) {
    if (random.Next() != expected) return false;
  }
  return true;
}
static_assert(MatchesReference());
// A unit number is the upper 27 bits of one number and the upper 26 of the next.
static_assert(inlay::Pcg32(42, 54).NextUnit() * 0x1p53 ==
              static_cast<double>((std::uint64_t{0xa15c02b7u >> 5} << 26) + (0x7b47f409u >> 6)));

}  // namespace

BOOST_AUTO_TEST_SUITE(generate_random)

BOOST_AUTO_TEST_CASE(UnitNumbersAreUniform) {
  inlay::Pcg32 random(7);
  constexpr int kDraws = 64000;
  int counts[64] = {};
  double sum = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double unit = random.NextUnit();
    BOOST_REQUIRE(unit >= 0.0);
    BOOST_REQUIRE(unit < 1.0);
    ++counts[static_cast<int>(unit * 64)];
    sum += unit;
  }
  double chi_square = 0;
  for (const int count : counts) chi_square += (count - 1000.0) * (count - 1000.0) / 1000.0;
  BOOST_TEST(chi_square < 63 + 4 * 11.3);  // 63 degrees of freedom: mean 63, standard deviation 11.2
  BOOST_TEST(sum / kDraws == 0.5, boost::test_tools::tolerance(0.01));
}

BOOST_AUTO_TEST_CASE(SeedsAndStreamsDiffer) {
  inlay::Pcg32 a(1), b(2), c(1, 1), d(1);
  const std::uint32_t first = a.Next();
  BOOST_TEST(first != b.Next());
  BOOST_TEST(first != c.Next());
  BOOST_TEST(first == d.Next());
}

BOOST_AUTO_TEST_CASE(StateResumesTheSequence) {
  inlay::Pcg32 random(3);
  random.Next();
  inlay::Pcg32 other(99);
  other.set_state(random.state());
  for (int i = 0; i < 10; ++i) BOOST_TEST(random.Next() == other.Next());
}

BOOST_AUTO_TEST_SUITE_END()
