#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "inlay/formats/float16.hpp"

namespace {

std::uint32_t Bits(float value) { return std::bit_cast<std::uint32_t>(value); }

// The definition of binary16, in double arithmetic; exact for finite patterns.
double HalfValue(unsigned half) {
  const int exponent = static_cast<int>(half >> 10 & 31);
  const int mantissa = static_cast<int>(half & 1023);
  const double magnitude = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return (half & 0x8000) != 0 ? -magnitude : magnitude;
}

bool IsNan(unsigned half) { return (half & 0x7FFF) > 0x7C00; }

// Conversions are usable in constant expressions.
static_assert(inlay::F16ToF32(0x3C00) == 1.0f && inlay::F16ToF32(0xC000) == -2.0f && inlay::F16ToF32(1) == 0x1p-24f);
static_assert(inlay::F32ToF16(1.0f) == 0x3C00 && inlay::F32ToF16(-65504.0f) == 0xFBFF);
static_assert(inlay::F32ToBF16(1.0f) == 0x3F80 && inlay::BF16ToF32(0xC000) == -2.0f);

}  // namespace

BOOST_AUTO_TEST_SUITE(formats_float16)

BOOST_AUTO_TEST_CASE(EveryHalfDecodesToItsValueAndBack) {
  int wrong = 0;
  for (unsigned half = 0; half < 65536; ++half) {
    const float value = inlay::F16ToF32(static_cast<std::uint16_t>(half));
    const unsigned back = inlay::F32ToF16(value);
    if (IsNan(half)) {
      wrong += Bits(value) != ((half & 0x8000u) << 16 | 0x7F800000u | (half & 0x3FFu) << 13);
      wrong += back != (half | 0x200u);
    } else if ((half & 0x7C00) == 0x7C00) {
      wrong += Bits(value) != ((half & 0x8000u) << 16 | 0x7F800000u) || back != half;
    } else {
      wrong += static_cast<double>(value) != HalfValue(half) || Bits(value) >> 31 != half >> 15;
      wrong += back != half;
    }
    BOOST_REQUIRE_MESSAGE(wrong == 0, "half " << half);
  }
}

// Between two neighbours: just below the middle rounds down, the middle to the even one, just above rounds up.
BOOST_AUTO_TEST_CASE(RoundsToNearestEvenBetweenAllNeighbours) {
  for (unsigned half = 0; half < 0x7C00; ++half) {
    const double low = HalfValue(half);
    // The step beyond the largest finite value is that of a further exponent, where infinity stands.
    const double high = half == 0x7BFF ? 65536.0 : HalfValue(half + 1);
    const float middle = static_cast<float>((low + high) / 2);
    BOOST_REQUIRE(static_cast<double>(middle) == (low + high) / 2);
    const float below = std::nextafter(middle, 0.0f), above = std::nextafter(middle, 1e30f);
    const unsigned even = half + (half & 1);
    for (const float sign : {1.0f, -1.0f}) {
      const unsigned sign_bit = sign < 0 ? 0x8000u : 0u;
      const bool right = inlay::F32ToF16(sign * below) == (sign_bit | half) &&
                         inlay::F32ToF16(sign * middle) == (sign_bit | even) &&
                         inlay::F32ToF16(sign * above) == (sign_bit | (half + 1));
      BOOST_REQUIRE_MESSAGE(right, "half " << half << " sign " << sign);
    }
  }
}

BOOST_AUTO_TEST_CASE(ExtremesOfFloatConvert) {
  BOOST_TEST(inlay::F32ToF16(std::numeric_limits<float>::max()) == 0x7C00);
  BOOST_TEST(inlay::F32ToF16(std::numeric_limits<float>::infinity()) == 0x7C00);
  BOOST_TEST(inlay::F32ToF16(-std::numeric_limits<float>::infinity()) == 0xFC00);
  BOOST_TEST(inlay::F32ToF16(std::numeric_limits<float>::denorm_min()) == 0);
  BOOST_TEST(inlay::F32ToF16(-0.0f) == 0x8000);
  BOOST_TEST(inlay::F32ToF16(std::bit_cast<float>(0x7F800001u)) == 0x7E00);  // a NaN whose payload is all dropped
  BOOST_TEST(inlay::F32ToF16(std::bit_cast<float>(0xFFFFFFFFu)) == 0xFFFF);
}

BOOST_AUTO_TEST_CASE(SaturatedConversionStaysFinite) {
  BOOST_TEST(inlay::F32ToF16Saturated(1e30f) == 0x7BFF);
  BOOST_TEST(inlay::F32ToF16Saturated(-65520.0f) == 0xFBFF);
  BOOST_TEST(inlay::F32ToF16Saturated(65504.0f) == 0x7BFF);
  BOOST_TEST(inlay::F32ToF16Saturated(-1.5f) == inlay::F32ToF16(-1.5f));
}

BOOST_AUTO_TEST_CASE(EveryBFloatDecodesToItsUpperHalfAndBack) {
  for (unsigned half = 0; half < 65536; ++half) {
    const float value = inlay::BF16ToF32(static_cast<std::uint16_t>(half));
    BOOST_REQUIRE(Bits(value) == half << 16);
    const bool nan = (half & 0x7FFF) > 0x7F80;
    BOOST_REQUIRE(inlay::F32ToBF16(value) == (nan ? half | 0x40u : half));
  }
}

BOOST_AUTO_TEST_CASE(BFloatRoundsToNearestEven) {
  for (unsigned half = 0; half < 0x7F80; ++half) {
    const std::uint32_t low = half << 16;
    const unsigned even = half + (half & 1);
    const bool right = inlay::F32ToBF16(std::bit_cast<float>(low + 0x7FFFu)) == half &&
                       inlay::F32ToBF16(std::bit_cast<float>(low + 0x8000u)) == even &&
                       inlay::F32ToBF16(std::bit_cast<float>(low + 0x8001u)) == half + 1;
    BOOST_REQUIRE_MESSAGE(right, "bfloat16 " << half);
  }
  // A NaN with its payload in the dropped bits only must not round to infinity.
  BOOST_TEST(inlay::F32ToBF16(std::bit_cast<float>(0x7F800001u)) == 0x7FC0);
  BOOST_TEST(inlay::F32ToBF16(std::bit_cast<float>(0xFFFFFFFFu)) == 0xFFFF);
}

BOOST_AUTO_TEST_SUITE_END()
