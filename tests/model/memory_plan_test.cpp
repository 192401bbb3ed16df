// What a session takes, known before it takes it: by the compiler, at run time, and by what is then taken.
#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <cstddef>
#include <string_view>
#include <utility>
#include <vector>

#include "inlay/config/known_models.hpp"
#include "inlay/generate/session.hpp"
#include "inlay/model/model.hpp"
#include "tests/support/random_model.hpp"
#include "tests/support/test_model.hpp"

namespace {

using namespace inlay_test;
using inlay::ErrorCode;
using inlay::Formats;
using inlay::KvType;
using inlay::MemoryPlan;
using inlay::SessionOptions;
using inlay::WeightType;

// Only planned, never made: no kernel is compiled.
template <inlay::ModelConfig kConfig, class Recipe>
constexpr MemoryPlan Plan(const SessionOptions& options) {
  return inlay::Model<kConfig, Recipe, inlay::AllKvTypes>::Plan(options);
}

// Keys and values of Llama 3.2 1B: 16 layers, 8 heads of 64, 2 bytes each, for keys and for values.
static_assert(Plan<inlay::kLlama3_2_1B, inlay::Q4_K_M>({.context = 4096}).kv_cache == 4096ull * 16 * 8 * 64 * 2 * 2);
// int8 with a float for 64 values.
static_assert(Plan<inlay::kLlama3_2_1B, inlay::Q4_K_M>({.context = 4096, .kv = KvType::kQ8}).kv_cache ==
              4096ull * 16 * 8 * (64 + 4) * 2);
// 4 bits with a float for the 64 of a value and for every 32 of a key.
static_assert(Plan<inlay::kLlama3_2_1B, inlay::Q4_K_M>({.context = 4096, .kv = KvType::kQ4}).kv_cache ==
              4096ull * 16 * 8 * (32 + 8 + 32 + 4));
static_assert(Plan<inlay::kLlama3_2_1B, inlay::Q4_K_M>({.context = 4096}).total() < (1200ull << 20));
// Positions come in chunks of 64.
static_assert(Plan<inlay::kLlama3_2_1B, inlay::Q4_K_M>({.context = 1}).kv_cache == 64ull * 16 * 8 * 64 * 2 * 2);
// Without context: the trained one.
static_assert(Plan<inlay::kStories15M, Formats<WeightType::kQ8_0>>({}).kv_cache == 256ull * 6 * 6 * 48 * 2 * 2);
// stories260K in 32-bit floats: what a microcontroller must have.
constexpr MemoryPlan kSmall = Plan<inlay::kStories260K, Formats<WeightType::kF32>>({.context = 128, .batch = 1, .threads = 1});
static_assert(kSmall.weights > 1'050'000 && kSmall.weights < 1'060'000);
static_assert(kSmall.session() < 330'000 && kSmall.total() == kSmall.weights + kSmall.kv_cache + kSmall.scratch);

std::vector<SessionOptions> Options() {
  std::vector<SessionOptions> all;
  for (const std::size_t context : {1u, 63u, 64u, 257u, 700u}) {
    for (const std::size_t batch : {1u, 2u, 17u, 128u}) {
      for (const KvType kv : {KvType::kF32, KvType::kF16, KvType::kBF16, KvType::kQ8, KvType::kQ4}) {
        all.push_back({.context = context, .batch = batch, .outputs = (context + batch) % 5 + 1, .threads = batch % 7 + 1,
                       .kv = kv});
      }
    }
  }
  return all;
}

// Takes a session's memory piece by piece, as Session does.
void ExpectExact(const TestModel& model, const SessionOptions& options, const MemoryPlan& plan) {
  AlignedBytes memory(plan.session());
  inlay::Arena arena = Value(inlay::Arena::Create(memory));
  BOOST_TEST(model.NewCache(options, arena).has_value());
  BOOST_TEST(arena.used() == plan.kv_cache);
  BOOST_TEST(model.NewWorkspace(options, arena).has_value());
  BOOST_TEST(arena.used() == plan.session());
  BOOST_TEST(arena.remaining() == 0u);
}

BOOST_AUTO_TEST_SUITE(model_memory_plan)

BOOST_AUTO_TEST_CASE(exact_for_any_model) {
  std::vector<std::pair<inlay::ModelConfig, WeightType>> models = {
      {kNarrowConfig, WeightType::kF16}, {kOddConfig, WeightType::kF32},         {kBlockConfig, WeightType::kQ4_0},
      {kSuperBlockConfig, WeightType::kQ6_K}, {kExpertConfig, WeightType::kQ8_0}};
  for (const auto& [config, type] : models) {
    const OpenedModel model = OpenModel(RandomModel({.config = config, .type = AllOf(type)}));
    for (const SessionOptions& options : Options()) {
      const MemoryPlan plan = Value(model->PlanFor(options));
      BOOST_TEST(plan.weights == model.file->packed().size());
      ExpectExact(*model, options, plan);
    }
  }
}

BOOST_AUTO_TEST_CASE(exact_for_static_models) {
  for (const StaticModelEntry& entry : StaticModels()) {
    const OpenedModel model = OpenModel(RandomModel({.config = *entry.config, .type = AllOf(entry.formats[0])}), entry.make);
    for (const SessionOptions& options : Options()) {
      const MemoryPlan plan = Value(model->PlanFor(options));
      const MemoryPlan compiled = entry.plan(options);
      BOOST_TEST(compiled.weights == model.file->packed().size());
      BOOST_TEST(compiled.weights == plan.weights);
      BOOST_TEST(compiled.kv_cache == plan.kv_cache);
      BOOST_TEST(compiled.scratch == plan.scratch);
      ExpectExact(*model, options, plan);
    }
  }
}

// A batch no larger than the context, outputs no more than a batch.
BOOST_AUTO_TEST_CASE(options_are_cut_to_what_can_happen) {
  const OpenedModel model = OpenModel(RandomModel({.config = kOddConfig}));
  const auto scratch = [&](const SessionOptions& options) { return Value(model->PlanFor(options)).scratch; };
  BOOST_TEST(scratch({.context = 10, .batch = 5000}) == scratch({.context = 10, .batch = 10}));
  BOOST_TEST(scratch({.context = 50, .batch = 8, .outputs = 900}) == scratch({.context = 50, .batch = 8, .outputs = 8}));
  BOOST_TEST(scratch({.context = 50, .batch = 8}) < scratch({.context = 50, .batch = 9}));
  BOOST_TEST(scratch({.context = 50, .batch = 8}) < scratch({.context = 50, .batch = 8, .outputs = 2}));
}

// The largest session of the largest model that the rules allow cannot be counted.
BOOST_AUTO_TEST_CASE(sizes_that_cannot_be_counted) {
  const inlay::ModelConfig huge{.dim = 1, .layers = inlay::kMaxLayers, .heads = inlay::kMaxHeads,
                                .kv_heads = inlay::kMaxHeads, .head_dim = inlay::kMaxHeadDim, .ffn_dim = 1, .vocab = 1,
                                .context = inlay::kMaxContext};
  BOOST_REQUIRE(inlay::Validate(huge));
  const auto plan = inlay::PlanScratch(huge, {}, inlay::kActivationFloat);
  BOOST_REQUIRE(!plan);
  BOOST_TEST((plan.error().code == ErrorCode::kTooLarge));
  BOOST_TEST(plan.error().field.view() == "context");
  BOOST_TEST(inlay::PlanScratch(huge, {.context = 65536}, inlay::kActivationFloat).has_value());
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
