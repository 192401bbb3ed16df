// Models that choose their code at run time: every level that this machine has, and the choice itself.
#define BOOST_TEST_DYN_LINK
#include "inlay/dispatch/model.hpp"

#include <boost/test/unit_test.hpp>

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "inlay/core/thread_pool.hpp"
#include "tests/support/random_model.hpp"
#include "tests/support/test_model.hpp"

namespace {

using namespace inlay_test;
using inlay::CpuLevel;
using inlay::KvType;
using inlay::WeightType;

// Products of quantised and of float weights, of one and of many tokens; caches of 8 and 16 bits.
using Formats = inlay::Formats<WeightType::kQ4_K, WeightType::kQ8_0, WeightType::kF32, WeightType::kF16>;
using Kv = inlay::KvTypes<KvType::kF16, KvType::kQ8>;
using Dispatched = inlay::DispatchedModel<kSuperBlockConfig, Formats, Kv>;
using Static = inlay::Model<kSuperBlockConfig, Formats, Kv>;

std::vector<CpuLevel> AvailableLevels() {
  std::vector<CpuLevel> levels;
  for (const CpuLevel level : inlay::kCpuLevels) {
    if (inlay::DispatchedForward().IsAvailable(level)) levels.push_back(level);
  }
  return levels;
}

FileContents TestFile(WeightType floats) {
  return RandomModel({.config = kSuperBlockConfig,
                      .type = MixOf({WeightType::kQ4_K, WeightType::kQ8_0, floats}),
                      .seed = 71});
}

// The logits after 40 tokens: 30 in one pass, then one by one.
std::vector<float> Logits(const TestModel& model, KvType kv, inlay::ExecutorRef executor) {
  const inlay::SessionOptions options{.context = 64, .batch = 30, .outputs = 30, .threads = 4, .kv = kv};
  const inlay::MemoryPlan plan = Value(model.PlanFor(options));
  AlignedBytes memory(plan.session());
  inlay::Arena arena = Value(inlay::Arena::Create(memory));
  inlay::SequenceCache cache = Value(model.NewCache(options, arena));
  inlay::Workspace workspace = Value(model.NewWorkspace(options, arena));
  const std::vector<inlay::TokenId> tokens = RandomTokens(40, kSuperBlockConfig.vocab, 5);
  std::vector<float> all;
  for (std::size_t at = 0; at < tokens.size();) {
    const std::size_t count = at == 0 ? 30 : 1;
    const inlay::SequenceInput input{&cache, std::span(tokens).subspan(at, count), inlay::Outputs::kAll};
    const inlay::LogitsView logits = Value(model.Forward({&input, 1}, workspace, executor));
    all.insert(all.end(), logits.data, logits.data + logits.rows * logits.vocab);
    at += count;
  }
  return all;
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](float x, float y) {
    return std::bit_cast<std::uint32_t>(x) == std::bit_cast<std::uint32_t>(y);
  });
}

// Root of the mean square of the difference, over that of `b`.
double RelativeDifference(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0.0, size = 0.0;
  for (std::size_t i = 0; i < b.size(); ++i) {
    difference += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
    size += std::pow(static_cast<double>(b[i]), 2);
  }
  return std::sqrt(difference / size);
}

BOOST_AUTO_TEST_SUITE(dispatch_model)

BOOST_AUTO_TEST_CASE(the_best_level_is_chosen) {
  const inlay::DispatchedForward forward;
  BOOST_TEST(forward.IsAvailable(CpuLevel::kBaseline));
  const std::vector<CpuLevel> levels = AvailableLevels();
  BOOST_TEST((forward.level() == levels.back()));
  BOOST_TEST_MESSAGE("level " << inlay::Name(forward.level()));
#if defined(__x86_64__)
  // The compiler's own library agrees about the processor.
  BOOST_TEST(forward.IsAvailable(CpuLevel::kSse4) == static_cast<bool>(__builtin_cpu_supports("sse4.2")));
  BOOST_TEST(forward.IsAvailable(CpuLevel::kAvx2) ==
             (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")));
  BOOST_TEST(forward.IsAvailable(CpuLevel::kAvx512) ==
             (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
              __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni")));
#endif
}

BOOST_AUTO_TEST_CASE(a_level_that_is_not_there_is_an_error) {
  inlay::DispatchedForward forward;
  const CpuLevel before = forward.level();
  for (const CpuLevel level : inlay::kCpuLevels) {
    const inlay::Result<void> result = forward.Use(level);
    BOOST_TEST(result.has_value() == forward.IsAvailable(level));
    if (!result) {
      BOOST_TEST((result.error().code == inlay::ErrorCode::kUnsupported));
      BOOST_TEST(result.error().Message().view().find(inlay::Name(level)) != std::string_view::npos);
    } else {
      BOOST_TEST((forward.level() == level));
    }
  }
  BOOST_TEST((forward.level() == before));  // the last that is available
}

// Every level computes the same model. Those with fused multiply-adds give the same bits, and so do those without: sums have
// one order on all of them. F16 is the exception: AVX-512 multiplies it as integers. The level that is compiled in gives what
// the model without dispatch gives.
BOOST_AUTO_TEST_CASE(every_level_computes_the_same) {
  inlay::ThreadPool threads(2);
  for (const auto& [kv, floats] : {std::pair(KvType::kF16, WeightType::kF32), std::pair(KvType::kQ8, WeightType::kF32),
                                   std::pair(KvType::kF16, WeightType::kF16)}) {
    auto file = Value(OpenedFile::Open(WriteGguf(TestFile(floats))));
    const auto reference = Value(TestModelOf<Static>::Make(file->parts()));
    auto made = Value(TestModelOf<Dispatched>::Make(file->parts()));
    Dispatched& model = static_cast<TestModelOf<Dispatched>&>(*made).model();
    const std::vector<float> expected = Logits(*reference, kv, threads);
    std::vector<float> fused;
    for (const CpuLevel level : AvailableLevels()) {
      BOOST_TEST_CONTEXT(inlay::Name(level) << ", cache " << inlay::Name(kv) << ", " << inlay::Name(floats)) {
        Value(model.forward().Use(level));
        const std::vector<float> logits = Logits(*made, kv, threads);
        BOOST_REQUIRE(logits.size() == expected.size());
        const bool is_fused = level >= CpuLevel::kAvx2 && (floats != WeightType::kF16 || level < CpuLevel::kAvx512);
        if (level < CpuLevel::kAvx2) BOOST_TEST(SameBits(logits, expected));
        if (is_fused && fused.empty()) fused = logits;
        if (is_fused) BOOST_TEST(SameBits(logits, fused));
        // Where the last bit of a float decides how an activation or a key is rounded, the difference grows: on average it
        // stays small.
        const double difference = RelativeDifference(logits, expected);
        BOOST_TEST(difference < 0.03);
        BOOST_TEST_MESSAGE(inlay::Name(level) << ", cache " << inlay::Name(kv) << ": differs by " << difference);
      }
    }
  }
}

// A session goes on when the level changes: keys and values lie the same for all.
BOOST_AUTO_TEST_CASE(levels_change_between_passes) {
  auto file = Value(OpenedFile::Open(WriteGguf(TestFile(WeightType::kF16))));
  auto made = Value(TestModelOf<Dispatched>::Make(file->parts()));
  Dispatched& model = static_cast<TestModelOf<Dispatched>&>(*made).model();
  inlay::SerialExecutor serial;
  const inlay::SessionOptions options{.context = 64, .batch = 16, .kv = KvType::kQ8};
  const auto run = [&](const std::vector<CpuLevel>& levels) {
    AlignedBytes memory(Value(model.PlanFor(options)).session());
    inlay::Arena arena = Value(inlay::Arena::Create(memory));
    inlay::SequenceCache cache = Value(model.NewCache(options, arena));
    inlay::Workspace workspace = Value(model.NewWorkspace(options, arena));
    std::vector<float> last;
    for (std::size_t i = 0; i < 24; ++i) {
      Value(model.forward().Use(levels[i % levels.size()]));
      const inlay::TokenId token = static_cast<inlay::TokenId>(i * 7 % kSuperBlockConfig.vocab);
      const inlay::SequenceInput input{&cache, {&token, 1}, inlay::Outputs::kLast};
      const inlay::LogitsView logits = Value(model.Forward({&input, 1}, workspace, serial));
      last.assign(logits.data, logits.data + logits.vocab);
    }
    return last;
  };
  const std::vector<float> expected = run({CpuLevel::kBaseline});
  const std::vector<float> mixed = run(AvailableLevels());
  BOOST_TEST(RelativeDifference(mixed, expected) < 0.03);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
