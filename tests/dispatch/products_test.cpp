// Quantised products are the same integers on every target. Here all scales are powers of two and all activations integers,
// so that the float results are exact: every level must give the sum in double, to the last bit.
#define BOOST_TEST_DYN_LINK
#include "inlay/dispatch/set_up.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tests/dispatch/products-inl.hpp"
#include <hwy/foreach_target.h>

#include "tests/dispatch/products-inl.hpp"

#include <boost/test/unit_test.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "inlay/core/owned_buffer.hpp"
#include "inlay/dispatch/cpu_level.hpp"
#include "inlay/formats/codec.hpp"
#include "inlay/formats/float16.hpp"
#include "inlay/kernels/pack.hpp"
#include "tests/support/half_conversions.hpp"
#include "tests/support/random_model.hpp"

namespace {

using namespace inlay_test;
using inlay::CpuLevel;
using inlay::WeightType;

struct Target {
  CpuLevel level;
  decltype(&ProductOn<HWY_STATIC_TARGET>::Run) run;
  decltype(&ProductOn<HWY_STATIC_TARGET>::LoadHalves) load_halves;
  decltype(&ProductOn<HWY_STATIC_TARGET>::StoreHalves) store_halves;
};

// Those that are compiled and that this machine has.
std::vector<Target> Targets() {
  std::vector<Target> targets;
  const auto add = [&]<class On>(CpuLevel level) {
    if constexpr (On::kCompiled) {
      if (level <= inlay::DetectCpuLevel()) targets.push_back({level, &On::Run, &On::LoadHalves, &On::StoreHalves});
    }
  };
  add.template operator()<ProductOn<HWY_STATIC_TARGET>>(CpuLevel::kBaseline);
#if HWY_ARCH_X86
  add.template operator()<ProductOn<HWY_SSE4>>(CpuLevel::kSse4);
  add.template operator()<ProductOn<HWY_AVX2>>(CpuLevel::kAvx2);
  add.template operator()<ProductOn<HWY_AVX3>>(CpuLevel::kAvx512);
#endif
  return targets;
}

BOOST_AUTO_TEST_SUITE(dispatch_products)

BOOST_AUTO_TEST_CASE(every_target_gives_the_exact_sums) {
  constexpr std::size_t kRows = 37, kCols = 512, kTokens = 29;
  for (const WeightType type : ProductFormats::kList) {
    const std::size_t row_bytes = inlay::RowBytes(type, kCols), block_bytes = inlay::Info(type).block_bytes;
    Random random(41);
    std::vector<std::byte> file(kRows * row_bytes);
    for (std::byte& byte : file) byte = static_cast<std::byte>(random.Below(256));
    const std::uint16_t scale = inlay::F32ToF16(0x1p-6f), min = inlay::F32ToF16(0x1p-4f);
    for (std::size_t at = 0; at < file.size(); at += block_bytes) {
      std::memcpy(&file[at + (type == WeightType::kQ6_K ? offsetof(inlay::BlockQ6_K, d) : 0)], &scale, 2);
      if (type == WeightType::kQ5_1 || type == WeightType::kQ4_K) std::memcpy(&file[at + 2], &min, 2);
    }
    inlay::OwnedBuffer packed = *inlay::OwnedBuffer::Create(inlay::PackedBytes(type, kRows, kCols));
    for (std::size_t row = 0; row < kRows; row += inlay::kRowTile) {
      inlay::PackTile(type, &file[row * row_bytes], row_bytes, std::min(inlay::kRowTile, kRows - row), kCols,
                      packed.bytes().data() + row / inlay::kRowTile * inlay::PackedTileBytes(type, kCols));
    }
    const inlay::ActivationKinds kinds = inlay::ActivationKindOf(type);
    inlay::MemoryCounter counter;
    BOOST_REQUIRE(inlay::MakeActivations(counter, kinds, kTokens, kCols));
    inlay::OwnedBuffer memory = *inlay::OwnedBuffer::Create(counter.used());
    inlay::Arena arena = *inlay::Arena::Create(memory.bytes());
    const inlay::Activations x = *inlay::MakeActivations(arena, kinds, kTokens, kCols);
    for (std::size_t t = 0; t < kTokens; ++t) {
      for (std::size_t k = 0; k < kCols; ++k) {
        // Each block has a 127, so that its scale is 1.
        x.values[t * x.stride + k] = k % 32 == t ? 127.0f : static_cast<float>(random.Below(255)) - 127.0f;
      }
    }
    std::vector<float> expected(kTokens * kRows);
    std::vector<float> weights(kCols);
    for (std::size_t r = 0; r < kRows; ++r) {
      inlay::DecodeRow(type, &file[r * row_bytes], kCols, weights.data());
      for (std::size_t t = 0; t < kTokens; ++t) {
        double sum = 0.0;
        for (std::size_t k = 0; k < kCols; ++k) {
          sum += static_cast<double>(weights[k]) * static_cast<double>(x.values[t * x.stride + k]);
        }
        expected[t * kRows + r] = static_cast<float>(sum);
        BOOST_REQUIRE(static_cast<double>(expected[t * kRows + r]) == sum);
      }
    }
    for (const Target& target : Targets()) {
      for (const std::size_t tokens : {std::size_t{1}, std::size_t{3}, kTokens}) {
        std::vector<float> out(tokens * kRows, -1.0f);
        target.run(type, packed.bytes().data(), kRows, kCols, x, tokens, out.data());
        std::size_t wrong = 0;
        for (std::size_t i = 0; i < out.size(); ++i) wrong += out[i] != expected[i] ? 1 : 0;
        BOOST_TEST(wrong == 0u, wrong << " of " << out.size() << " sums of " << inlay::Name(type) << " differ on "
                                      << inlay::Name(target.level) << ", " << tokens << " tokens");
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(halves_convert_as_defined) {
  for (const Target& target : Targets()) {
    BOOST_TEST_CONTEXT(inlay::Name(target.level)) { CheckHalfConversions(target.load_halves, target.store_halves); }
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
