#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "inlay/formats/blocks.hpp"
#include "inlay/formats/finite.hpp"

namespace {

using inlay::WeightType;

// Where a block keeps its scales, and their bit pattern of infinity.
struct ScalePlaces {
  WeightType type;
  std::vector<std::size_t> offsets;
  std::uint32_t infinity;
  std::size_t bytes;
};

const std::vector<ScalePlaces> kPlaces = {
    {WeightType::kF32, {0}, 0x7F800000, 4}, {WeightType::kF16, {0}, 0x7C00, 2},
    {WeightType::kBF16, {0}, 0x7F80, 2},    {WeightType::kQ8_0, {0}, 0x7C00, 2},
    {WeightType::kQ4_0, {0}, 0x7C00, 2},    {WeightType::kQ4_1, {0, 2}, 0x7C00, 2},
    {WeightType::kQ5_0, {0}, 0x7C00, 2},    {WeightType::kQ5_1, {0, 2}, 0x7C00, 2},
    {WeightType::kQ4_K, {0, 2}, 0x7C00, 2}, {WeightType::kQ5_K, {0, 2}, 0x7C00, 2},
    {WeightType::kQ6_K, {208}, 0x7C00, 2},  {WeightType::kQ2_K, {80, 82}, 0x7C00, 2},
    {WeightType::kQ3_K, {108}, 0x7C00, 2},  {WeightType::kIQ4_NL, {0}, 0x7C00, 2},
    {WeightType::kIQ4_XS, {0}, 0x7C00, 2},  {WeightType::kTQ1_0, {52}, 0x7C00, 2},
    {WeightType::kTQ2_0, {64}, 0x7C00, 2}};

}  // namespace

BOOST_AUTO_TEST_SUITE(formats_finite)

BOOST_AUTO_TEST_CASE(FindsEveryNonFiniteScaleWhereItIs) {
  for (const ScalePlaces& places : kPlaces) {
    BOOST_TEST_CONTEXT(inlay::Name(places.type)) {
      const std::size_t block = inlay::Info(places.type).block_bytes;
      // Levels of all ones are no scale, and the largest finite scale is finite.
      std::vector<std::byte> data(5 * block, std::byte{0xFF});
      for (std::size_t b = 0; b < 5; ++b) {
        for (const std::size_t offset : places.offsets) {
          const std::uint32_t most = places.infinity - 1;
          std::memcpy(data.data() + b * block + offset, &most, places.bytes);
        }
      }
      BOOST_TEST(inlay::FindNonFinite(places.type, data) == inlay::kAllFinite);
      for (const std::size_t offset : places.offsets) {
        for (const std::uint32_t bad :
             {places.infinity, places.infinity + 1, places.infinity | 1u << (8 * places.bytes - 1)}) {
          std::vector<std::byte> broken = data;
          std::memcpy(broken.data() + 3 * block + offset, &bad, places.bytes);
          BOOST_TEST(inlay::FindNonFinite(places.type, broken) == 3 * block + offset);
          std::memcpy(broken.data() + 4 * block + offset, &bad, places.bytes);
          BOOST_TEST(inlay::FindNonFinite(places.type, broken) == 3 * block + offset);
        }
      }
    }
  }
}

// Exponents with which every level is a float, and those with which the largest is not; 255 is NaN.
BOOST_AUTO_TEST_CASE(FindsExponentsThatAreTooLarge) {
  std::vector<std::byte> data(5 * sizeof(inlay::BlockMXFP4), std::byte{0xFF});
  for (std::size_t b = 0; b < 5; ++b) data[b * sizeof(inlay::BlockMXFP4)] = std::byte{252};
  BOOST_TEST(inlay::FindNonFinite(WeightType::kMXFP4, data) == inlay::kAllFinite);
  for (const int bad : {253, 254, 255}) {
    data[3 * sizeof(inlay::BlockMXFP4)] = static_cast<std::byte>(bad);
    BOOST_TEST(inlay::FindNonFinite(WeightType::kMXFP4, data) == 3 * sizeof(inlay::BlockMXFP4));
  }
}

BOOST_AUTO_TEST_CASE(NothingAndIntegersAreFinite) {
  BOOST_TEST(inlay::FindNonFinite(WeightType::kF32, {}) == inlay::kAllFinite);
  const std::vector<std::byte> ones(64, std::byte{0xFF});
  BOOST_TEST(inlay::FindNonFinite(WeightType::kI8, ones) == inlay::kAllFinite);
}

BOOST_AUTO_TEST_SUITE_END()
