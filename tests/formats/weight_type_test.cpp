#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include "inlay/formats/weight_type.hpp"

using inlay::WeightType;

// What GGUF says: number, name, values and bytes of a block.
static_assert(inlay::FindWeightType(0u)->type == WeightType::kF32 &&
              inlay::FindWeightType(1u)->type == WeightType::kF16);
static_assert(inlay::FindWeightType(30u)->type == WeightType::kBF16 &&
              inlay::FindWeightType(24u)->type == WeightType::kI8);
static_assert(inlay::FindWeightType(10u)->type == WeightType::kQ2_K &&
              inlay::FindWeightType(11u)->type == WeightType::kQ3_K &&
              inlay::FindWeightType(20u)->type == WeightType::kIQ4_NL &&
              inlay::FindWeightType(23u)->type == WeightType::kIQ4_XS &&
              inlay::FindWeightType(34u)->type == WeightType::kTQ1_0 &&
              inlay::FindWeightType(35u)->type == WeightType::kTQ2_0 &&
              inlay::FindWeightType(39u)->type == WeightType::kMXFP4);
static_assert(inlay::FindWeightType(9u) == nullptr && inlay::FindWeightType(0xFFFFFFFFu) == nullptr);
static_assert(inlay::FindWeightType("Q4_K")->type == WeightType::kQ4_K && inlay::FindWeightType("q4_k") == nullptr);
static_assert(inlay::RowBytes(WeightType::kQ4_K, 512) == 288 && inlay::RowBytes(WeightType::kQ8_0, 64) == 68);
static_assert(inlay::RowBytes(WeightType::kF32, 3) == 12 && inlay::RowBytes(WeightType::kQ6_K, 0) == 0);

using Few = inlay::Formats<WeightType::kQ4_K, WeightType::kF32>;
static_assert(Few::Contains(WeightType::kF32) && !Few::Contains(WeightType::kF16) && Few::kList.size() == 2);

BOOST_AUTO_TEST_SUITE(formats_weight_type)

BOOST_AUTO_TEST_CASE(TableIsConsistent) {
  int with_kernels = 0;
  for (const inlay::WeightTypeInfo& info : inlay::kWeightTypes) {
    BOOST_TEST(inlay::FindWeightType(static_cast<std::uint32_t>(info.type)) == &info);
    BOOST_TEST(inlay::FindWeightType(info.name) == &info);
    BOOST_TEST(inlay::AllFormats::Contains(info.type) == info.multiplies);
    with_kernels += info.multiplies ? 1 : 0;
  }
  BOOST_TEST(with_kernels == 18);
}

BOOST_AUTO_TEST_SUITE_END()
