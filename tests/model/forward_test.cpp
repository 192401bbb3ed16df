// One pass over a model: the same bits whatever is compiled in, whoever computes, and however the tokens are cut.
#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "inlay/core/thread_pool.hpp"
#include "tests/support/random_model.hpp"
#include "tests/support/test_model.hpp"

namespace {

using namespace inlay_test;
using inlay::KvType;
using inlay::Outputs;
using inlay::SequenceInput;
using inlay::TokenId;
using inlay::WeightType;

constexpr KvType kKvTypes[] = {KvType::kF32, KvType::kF16, KvType::kBF16, KvType::kQ8, KvType::kQ4};

// Says it has `concurrency` threads and runs all tasks on this one, in an order of its own.
class ScrambledExecutor {
 public:
  ScrambledExecutor(std::size_t concurrency, std::uint64_t seed) : concurrency_(concurrency), random_(seed) {}
  std::size_t concurrency() const { return concurrency_; }
  void Run(std::size_t n, inlay::FunctionRef<void(std::size_t)> f) {
    std::vector<std::size_t> order(n);
    std::iota(order.begin(), order.end(), std::size_t{0});
    for (std::size_t i = n; i > 1; --i) std::swap(order[i - 1], order[random_.Below(i)]);
    for (const std::size_t i : order) f(i);
  }

 private:
  std::size_t concurrency_;
  Random random_;
};

// Comparing as integers: NaN would equal nothing, and 0 equals -0.
bool SameBits(std::span<const float> a, std::span<const float> b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](float x, float y) {
    return std::bit_cast<std::uint32_t>(x) == std::bit_cast<std::uint32_t>(y);
  });
}

// One sequence at a time over a workspace for up to `batch` tokens.
class Runner {
 public:
  Runner(const TestModel& model, std::size_t context, std::size_t batch, KvType kv, std::size_t threads = 8)
      : model_(model) {
    options_.context = context;
    options_.batch = batch;
    options_.outputs = batch;
    options_.kv = kv;
    options_.threads = threads;
    const inlay::MemoryPlan plan = Value(model.PlanFor(options_));
    scratch_memory_.resize(plan.scratch);
    inlay::Arena arena = Value(inlay::Arena::Create(scratch_memory_));
    workspace_ = Value(model.NewWorkspace(options_, arena));
    cache_bytes_ = plan.kv_cache;
  }

  inlay::SequenceCache& NewCache() {
    caches_.emplace_back(std::make_unique<Cache>());
    caches_.back()->memory.resize(cache_bytes_);
    inlay::Arena arena = Value(inlay::Arena::Create(caches_.back()->memory));
    caches_.back()->cache = Value(model_.NewCache(options_, arena));
    return caches_.back()->cache;
  }

  std::vector<float> Forward(std::span<const SequenceInput> sequences, inlay::ExecutorRef executor) {
    const inlay::LogitsView logits = Value(model_.Forward(sequences, workspace_, executor));
    return {logits.data, logits.data + logits.rows * logits.vocab};
  }
  std::vector<float> Forward(inlay::SequenceCache& cache, std::span<const TokenId> tokens, Outputs outputs,
                             inlay::ExecutorRef executor) {
    const SequenceInput input{&cache, tokens, outputs};
    return Forward({&input, 1}, executor);
  }

 private:
  struct Cache {
    AlignedBytes memory;
    inlay::SequenceCache cache;
  };
  const TestModel& model_;
  inlay::SessionOptions options_;
  AlignedBytes scratch_memory_;
  inlay::Workspace workspace_;
  std::size_t cache_bytes_ = 0;
  std::vector<std::unique_ptr<Cache>> caches_;
};

void Append(std::vector<float>& to, const std::vector<float>& more) { to.insert(to.end(), more.begin(), more.end()); }

BOOST_AUTO_TEST_SUITE(model_forward)

BOOST_AUTO_TEST_CASE(static_equals_dynamic) {
  inlay::ThreadPool pool(2);
  for (const StaticModelEntry& entry : StaticModels()) {
    std::vector<std::pair<std::string, std::function<WeightType(std::string_view)>>> recipes;
    for (const WeightType type : entry.formats) recipes.emplace_back(inlay::Name(type), AllOf(type));
    recipes.emplace_back("mix", MixOf(entry.formats));
    for (const auto& [name, type] : recipes) {
      const FileContents file = RandomModel({.config = *entry.config, .type = type, .seed = 21});
      const OpenedModel dynamic_model = OpenModel(file);
      const OpenedModel static_model = OpenModel(file, entry.make);
      const auto tokens = RandomTokens(70, entry.config->vocab, 22);
      for (const KvType kv : kKvTypes) {
        BOOST_TEST_CONTEXT("dim " << entry.config->dim << ", " << name << ", cache " << inlay::Name(kv)) {
          const auto expected = AllLogits(*dynamic_model, tokens, kv, pool, 32);
          BOOST_TEST(SameBits(AllLogits(*static_model, tokens, kv, pool, 32), expected));
        }
      }
    }
  }
}

// Large enough that every product and attention is cut; the context crosses spans, in passes of many tokens and of one.
BOOST_AUTO_TEST_CASE(any_number_of_threads) {
  const std::vector<WeightType> mix = {WeightType::kQ4_K, WeightType::kQ8_0, WeightType::kQ6_K, WeightType::kF16};
  const FileContents file = RandomModel({.config = kSuperBlockConfig, .type = MixOf(mix), .seed = 31});
  const OpenedModel model = OpenModel(file);
  const auto tokens = RandomTokens(530, kSuperBlockConfig.vocab, 32);
  constexpr std::size_t kPrompt = 520, kBatch = 104;
  const auto run = [&](KvType kv, inlay::ExecutorRef executor, std::size_t workspace_threads) {
    Runner runner(*model, tokens.size(), kBatch, kv, workspace_threads);
    inlay::SequenceCache& cache = runner.NewCache();
    std::vector<float> logits;
    for (std::size_t at = 0; at < tokens.size();) {
      const std::size_t count = at < kPrompt ? kBatch : 1;
      Append(logits, runner.Forward(cache, std::span(tokens).subspan(at, count), Outputs::kLast, executor));
      at += count;
    }
    return logits;
  };
  for (const KvType kv : {KvType::kF16, KvType::kQ8}) {
    inlay::SerialExecutor serial;
    const auto expected = run(kv, serial, 1);
    for (std::size_t threads = 1; threads <= 8; ++threads) {
      inlay::ThreadPool pool(threads);
      BOOST_TEST(SameBits(run(kv, pool, threads), expected), threads << " threads, cache " << inlay::Name(kv));
    }
    for (const std::size_t threads : {2u, 5u, 64u}) {
      ScrambledExecutor scrambled(threads, threads);
      BOOST_TEST(SameBits(run(kv, scrambled, 3), expected), threads << " scrambled, cache " << inlay::Name(kv));
    }
  }
}

BOOST_AUTO_TEST_CASE(experts_on_threads) {
  const FileContents file = RandomModel({.config = kExpertConfig, .type = MixOf({WeightType::kF32, WeightType::kQ8_0})});
  const OpenedModel model = OpenModel(file);
  const auto tokens = RandomTokens(90, kExpertConfig.vocab, 2);
  inlay::SerialExecutor serial;
  const auto expected = AllLogits(*model, tokens, KvType::kF32, serial, 90);
  for (std::size_t threads = 2; threads <= 8; threads += 3) {
    inlay::ThreadPool pool(threads);
    BOOST_TEST(SameBits(AllLogits(*model, tokens, KvType::kF32, pool, 90), expected));
  }
}

// A prompt in pieces of any size: the logits after every token.
BOOST_AUTO_TEST_CASE(pieces_of_a_prompt) {
  inlay::SerialExecutor serial;
  const auto check = [&](const OpenedModel& model, std::size_t length, const std::vector<std::size_t>& sizes, KvType kv) {
    const auto tokens = RandomTokens(length, model->config().vocab, length);
    const auto expected = AllLogits(*model, tokens, kv, serial, length);
    for (const std::size_t size : sizes) {
      BOOST_TEST(SameBits(AllLogits(*model, tokens, kv, serial, size), expected),
                 length << " tokens in pieces of " << size << ", cache " << inlay::Name(kv));
    }
  };
  const OpenedModel odd = OpenModel(RandomModel({.config = kOddConfig}));
  const OpenedModel block = OpenModel(RandomModel({.config = kBlockConfig, .type = AllOf(WeightType::kQ4_1)}));
  const OpenedModel super_block = OpenModel(RandomModel({.config = kSuperBlockConfig, .type = AllOf(WeightType::kQ5_K)}));
  const OpenedModel experts = OpenModel(RandomModel({.config = kExpertConfig, .type = AllOf(WeightType::kQ8_0)}));
  std::vector<std::size_t> all(40);
  std::iota(all.begin(), all.end(), std::size_t{1});
  for (const KvType kv : kKvTypes) {
    check(odd, 40, all, kv);
    check(block, 40, all, kv);
    check(super_block, 40, {1, 2, 3, 5, 6, 7, 12, 13, 39}, kv);
    check(experts, 40, all, kv);
    check(odd, 600, {1, 17, 64, 255, 256, 257, 512, 599}, kv);
  }
  for (const std::size_t length : {1u, 2u, 63u, 64u, 65u, 255u, 256u, 257u, 511u, 512u, 513u, 520u}) {
    check(odd, length, {1, 30, 128, 300}, KvType::kF16);
  }
  check(experts, 300, {1, 31, 128, 299}, KvType::kQ8);
  check(super_block, 530, {1, 128, 300}, KvType::kF16);
}

// Sequences of different lengths, at different positions, asking for different outputs, in one pass.
BOOST_AUTO_TEST_CASE(sequences_together) {
  inlay::ThreadPool pool(3);
  struct Part {
    std::size_t before, now;
    Outputs outputs;
  };
  const std::vector<Part> parts = {{0, 5, Outputs::kLast}, {300, 1, Outputs::kLast}, {7, 20, Outputs::kAll},
                                   {12, 3, Outputs::kNone}, {0, 0, Outputs::kAll},   {64, 1, Outputs::kAll},
                                   {255, 9, Outputs::kLast}};
  for (const auto& [config, type] : {std::pair{kOddConfig, WeightType::kF32}, {kExpertConfig, WeightType::kQ8_0},
                                     {kSuperBlockConfig, WeightType::kQ4_K}}) {
    const OpenedModel model = OpenModel(RandomModel({.config = config, .type = AllOf(type), .seed = 41}));
    for (const KvType kv : {KvType::kF16, KvType::kQ8}) {
      Runner runner(*model, 320, 320, kv);
      std::vector<std::vector<TokenId>> tokens;
      std::vector<SequenceInput> together;
      std::vector<float> expected;
      for (const Part& part : parts) {
        tokens.push_back(RandomTokens(part.before + part.now, config.vocab, 42 + tokens.size()));
      }
      for (std::size_t i = 0; i < parts.size(); ++i) {
        const std::span<const TokenId> before = std::span(tokens[i]).first(parts[i].before);
        const std::span<const TokenId> now = std::span(tokens[i]).subspan(parts[i].before);
        inlay::SequenceCache& alone = runner.NewCache();
        runner.Forward(alone, before, Outputs::kNone, pool);
        Append(expected, runner.Forward(alone, now, parts[i].outputs, pool));
        inlay::SequenceCache& shared = runner.NewCache();
        runner.Forward(shared, before, Outputs::kNone, pool);
        together.push_back({&shared, now, parts[i].outputs});
      }
      const std::vector<float> found = runner.Forward(together, pool);
      BOOST_TEST(found.size() == (1 + 1 + 20 + 1 + 1) * config.vocab);
      BOOST_TEST(SameBits(found, expected));
      for (std::size_t i = 0; i < parts.size(); ++i) BOOST_TEST(together[i].cache->length() == tokens[i].size());
    }
  }
}

// Going back and reading something else, then the first again: nothing of what was forgotten shows.
BOOST_AUTO_TEST_CASE(rollback) {
  inlay::SerialExecutor serial;
  const OpenedModel model = OpenModel(RandomModel({.config = kOddConfig, .seed = 51}));
  const auto tokens = RandomTokens(300, kOddConfig.vocab, 52);
  const auto other = RandomTokens(300, kOddConfig.vocab, 53);
  for (const KvType kv : kKvTypes) {
    Runner runner(*model, 300, 300, kv);
    const auto expected = runner.Forward(runner.NewCache(), tokens, Outputs::kAll, serial);
    inlay::SequenceCache& cache = runner.NewCache();
    runner.Forward(cache, other, Outputs::kNone, serial);
    for (const std::size_t keep : {0u, 1u, 15u, 64u, 100u, 256u, 299u}) {
      cache.Truncate(0);
      runner.Forward(cache, std::span(tokens).first(keep), Outputs::kNone, serial);
      runner.Forward(cache, std::span(other).subspan(keep), Outputs::kNone, serial);
      cache.Truncate(keep);
      BOOST_TEST(cache.length() == keep);
      const auto found = runner.Forward(cache, std::span(tokens).subspan(keep), Outputs::kAll, serial);
      BOOST_TEST(SameBits(found, std::span(expected).subspan(keep * kOddConfig.vocab)), "kept " << keep);
    }
    cache.Truncate(1000);
    BOOST_TEST(cache.length() == 300u);
  }
}

BOOST_AUTO_TEST_CASE(packed_equals_plain) {
  inlay::SerialExecutor serial;
  for (const StaticModelEntry& entry : StaticModels()) {
    const FileContents file = RandomModel({.config = *entry.config, .type = MixOf(entry.formats), .seed = 61});
    const OpenedModel plain = OpenModel(file);
    const OpenedModel packed = OpenModel(plain.file->WritePacked());
    BOOST_TEST(!inlay::PackedFile::IsPacked(plain.file->gguf()));
    BOOST_TEST(inlay::PackedFile::IsPacked(packed.file->gguf()));
    BOOST_TEST((packed->config() == plain->config()));
    const auto tokens = RandomTokens(20, entry.config->vocab, 62);
    BOOST_TEST(SameBits(AllLogits(*packed, tokens, KvType::kF16, serial), AllLogits(*plain, tokens, KvType::kF16, serial)));
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
