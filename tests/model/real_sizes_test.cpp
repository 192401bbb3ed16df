// Models of real sizes as types: they compile, forward pass and all, and what the compiler says they weigh is what their
// published files weigh.
// Sources of the sizes: the tables of files on the pages TheBloke/Llama-2-70B-GGUF, TheBloke/Mixtral-8x7B-v0.1-GGUF and
// bartowski/Mixtral-8x22B-v0.1-GGUF (decimal gigabytes; the last cuts digits off), and llama.cpp's benches/mac-m2-ultra.md for
// ggml-org's files of gpt-oss (binary ones).
#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <cstddef>
#include <cstdint>

#include "inlay/config/known_models.hpp"
#include "inlay/model/model.hpp"
#include "inlay/weights/recipes.hpp"

namespace {

using inlay::KvType;
using inlay::ModelConfig;
using inlay::SessionOptions;
using inlay::TensorId;
using inlay::WeightType;

// What is in files of one type: all matrices have it, but the output matrix where it is smaller than Q6_K, and the keys and
// values of models with eight experts, which are Q8_0.
template <WeightType kType>
struct FileOf : inlay::Formats<kType, WeightType::kQ6_K, WeightType::kQ8_0, WeightType::kF32> {
  static constexpr WeightType TypeOf(const ModelConfig& config, TensorId id) {
    if (kType == WeightType::kQ4_0 && inlay::detail::IsOutput(config, id)) return WeightType::kQ6_K;
    const bool keys = id.role == inlay::TensorRole::kKey || id.role == inlay::TensorRole::kValue;
    return config.experts == 8 && keys ? WeightType::kQ8_0 : kType;
  }
};

template <ModelConfig kConfig, class Recipe>
constexpr double WeightBytes() {
  return static_cast<double>(inlay::Model<kConfig, Recipe>::Plan({.context = 64}).weights);
}
// To two decimals, whether they were rounded or cut off.
constexpr bool Matches(double bytes, double published, double unit) {
  return bytes < (published + 0.01) * unit && bytes > (published - 0.01) * unit;
}
constexpr double kDecimal = 1e9, kBinary = 1024.0 * 1024.0 * 1024.0;

static_assert(Matches(WeightBytes<inlay::kLlama2_70B, FileOf<WeightType::kQ4_0>>(), 38.87, kDecimal));
static_assert(Matches(WeightBytes<inlay::kLlama2_70B, inlay::Q4_K_M>(), 41.42, kDecimal));
static_assert(Matches(WeightBytes<inlay::kLlama2_70B, FileOf<WeightType::kQ6_K>>(), 56.59, kDecimal));
static_assert(Matches(WeightBytes<inlay::kLlama2_70B, FileOf<WeightType::kQ8_0>>(), 73.29, kDecimal));
static_assert(Matches(WeightBytes<inlay::kMixtral8x7B, FileOf<WeightType::kQ4_0>>(), 26.44, kDecimal));
static_assert(Matches(WeightBytes<inlay::kMixtral8x7B, FileOf<WeightType::kQ6_K>>(), 38.38, kDecimal));
static_assert(Matches(WeightBytes<inlay::kMixtral8x7B, FileOf<WeightType::kQ8_0>>(), 49.62, kDecimal));
// The mixes spend more on attention where there are eight experts. A router's 8 rows are 16 when packed, of F32; files of that
// day had them in F16.
constexpr ModelConfig kMixtral8x22B = [] {
  ModelConfig config = inlay::kMixtral8x7B;
  config.dim = 6144;
  config.layers = 56;
  config.heads = 48;
  config.ffn_dim = 16384;
  config.context = 65536;
  return config;
}();
template <class Recipe>
constexpr double Mixtral8x22BBytes() {
  const double routers = (16.0 * 4 - 8.0 * 2) * kMixtral8x22B.layers * kMixtral8x22B.dim;
  return WeightBytes<kMixtral8x22B, inlay::OfEightExperts<Recipe>>() - routers;
}
static_assert(Matches(Mixtral8x22BBytes<inlay::Q2_K_M>(), 52.10, kDecimal));
static_assert(Matches(Mixtral8x22BBytes<inlay::Q3_K_M>(), 67.78, kDecimal));
static_assert(Matches(Mixtral8x22BBytes<inlay::Q4_K_S>(), 80.47, kDecimal));
static_assert(Matches(Mixtral8x22BBytes<inlay::Q4_K_M>(), 85.58, kDecimal));
static_assert(Matches(Mixtral8x22BBytes<inlay::Q5_K_M>(), 99.96, kDecimal));
static_assert(!inlay::RecipeListsAll<inlay::Q4_K_M>(kMixtral8x22B) && inlay::RecipeListsAll<inlay::Q4_K_M>(inlay::kLlama2_70B));
static_assert(Matches(WeightBytes<inlay::kGptOss20B, inlay::MXFP4_MOE>(), 11.27, kBinary));
static_assert(Matches(WeightBytes<inlay::kGptOss120B, inlay::MXFP4_MOE>(), 59.02, kBinary));

// Keys and values: 80 layers, 8 heads of 128; 32 layers, 8 heads of 128; 24 layers, 8 heads of 64; 2 bytes, twice.
constexpr SessionOptions kLong{.context = 4096};
static_assert(inlay::Model<inlay::kLlama2_70B, inlay::Q4_K_M>::Plan(kLong).kv_cache == 4096ull * 80 * 8 * 128 * 2 * 2);
static_assert(inlay::Model<inlay::kMixtral8x7B, inlay::OfEightExperts<inlay::Q4_K_M>>::Plan(kLong).kv_cache == 4096ull * 32 * 8 * 128 * 2 * 2);
static_assert(inlay::Model<inlay::kGptOss20B, inlay::MXFP4_MOE>::Plan(kLong).kv_cache == 4096ull * 24 * 8 * 64 * 2 * 2);

// Opening and running one of them as a program would.
template <ModelConfig kConfig, class Recipe>
void ExpectInstance() {
  using Model = inlay::Model<kConfig, Recipe, inlay::KvTypes<KvType::kF16>>;
  // Compiled here, for this machine; too large to be called.
  auto volatile forward = &Model::Forward;
  BOOST_TEST((forward != nullptr));
  // A file of another size is refused by name.
  ModelConfig other = kConfig;
  other.layers -= 1;
  const auto model = Model::Create(other, {}, {});
  BOOST_REQUIRE(!model);
  BOOST_TEST((model.error().code == inlay::ErrorCode::kMismatch));
  BOOST_TEST(model.error().field.view() == "layers");
}

BOOST_AUTO_TEST_SUITE(model_real_sizes)

BOOST_AUTO_TEST_CASE(llama_2_70b) { ExpectInstance<inlay::kLlama2_70B, inlay::Q4_K_M>(); }
BOOST_AUTO_TEST_CASE(mixtral_8x7b) { ExpectInstance<inlay::kMixtral8x7B, inlay::OfEightExperts<inlay::Q4_K_M>>(); }
BOOST_AUTO_TEST_CASE(gpt_oss_20b) { ExpectInstance<inlay::kGptOss20B, inlay::MXFP4_MOE>(); }

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
