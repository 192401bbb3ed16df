// Models whose layers keep a state or attend to latents: their logits against an independent evaluation, and the same bits
// for every split of a prompt, number of threads and way of compiling.
#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "inlay/config/known_models.hpp"
#include "inlay/core/thread_pool.hpp"
#include "inlay/weights/config_keys.hpp"
#include "tests/support/hybrid_models.hpp"
#include "tests/support/hybrid_reference.hpp"
#include "tests/support/random_model.hpp"
#include "tests/support/test_model.hpp"

namespace {

using namespace inlay_test;
using inlay::ErrorCode;
using inlay::KvType;
using inlay::Outputs;
using inlay::SequenceInput;
using inlay::TokenId;
using inlay::WeightType;

bool SameBits(std::span<const float> a, std::span<const float> b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](float x, float y) {
    return std::bit_cast<std::uint32_t>(x) == std::bit_cast<std::uint32_t>(y);
  });
}

constexpr HybridShape kPlain{}, kExperts = kMixedShape;
using Case = HybridCase;

std::vector<Case> Cases(std::uint64_t seed = 1, WeightType type = WeightType::kF32) { return HybridCases(seed, type); }

// One sequence in a workspace and a cache of its own.
class Run {
 public:
  Run(const TestModel& model, std::size_t context, std::size_t batch, std::size_t threads = 4, KvType kv = KvType::kF32)
      : model_(model) {
    inlay::SessionOptions options;
    options.context = context;
    options.batch = options.outputs = batch;
    options.threads = threads;
    options.kv = kv;
    const inlay::MemoryPlan plan = Value(model.PlanFor(options));
    memory_.assign(plan.session(), std::byte{0x7F});
    inlay::Arena arena = Value(inlay::Arena::Create(memory_));
    cache_ = Value(model.NewCache(options, arena));
    BOOST_TEST(arena.used() == plan.kv_cache);
    workspace_ = Value(model.NewWorkspace(options, arena));
    BOOST_TEST(arena.used() == plan.session());
    BOOST_TEST(arena.remaining() == 0u);
  }
  std::vector<float> operator()(std::span<const TokenId> tokens, inlay::ExecutorRef executor) {
    const SequenceInput input{&cache_, tokens, Outputs::kAll};
    const inlay::LogitsView logits = Value(model_.Forward({&input, 1}, workspace_, executor));
    return {logits.data, logits.data + logits.rows * logits.vocab};
  }
  inlay::SequenceCache& cache() { return cache_; }
  inlay::Workspace& workspace() { return workspace_; }

 private:
  const TestModel& model_;
  AlignedBytes memory_;
  inlay::SequenceCache cache_;
  inlay::Workspace workspace_;
};

BOOST_AUTO_TEST_SUITE(model_hybrid)

BOOST_AUTO_TEST_CASE(logits) {
  inlay::SerialExecutor serial;
  for (const Case& test : Cases()) {
    const OpenedModel model = OpenModel(test.file);
    const auto tokens = RandomTokens(40, model->config().vocab, 7);
    const auto expected = HybridReference(test.file).Logits(tokens);
    const auto found = AllLogits(*model, tokens, KvType::kF32, serial);
    double largest = 0.0, squares = 0.0, spread = 0.0;
    std::size_t at = 0;
    for (const auto& row : expected) {
      for (const double value : row) {
        const double error = std::abs(static_cast<double>(found.at(at++)) - value);
        largest = std::max(largest, error);
        squares += error * error;
        spread += value * value;
      }
    }
    const double deviation = std::sqrt(spread / static_cast<double>(at));
    BOOST_TEST_MESSAGE(test.name << ": max " << largest / deviation << ", rms " << std::sqrt(squares / spread)
                                 << " of the logits' deviation, " << deviation);
    BOOST_TEST_CONTEXT(test.name) {
      BOOST_TEST(at == found.size());
      BOOST_TEST(deviation > 0.5);
      BOOST_TEST(largest <= 1e-4 * deviation);
      BOOST_TEST(std::sqrt(squares / spread) <= 1e-5);
    }
  }
}

// One by one, in passes of several, all at once; on one thread, on three, in a workspace for fewer; packed.
BOOST_AUTO_TEST_CASE(same_bits_for_every_split_and_thread) {
  inlay::SerialExecutor serial;
  inlay::ThreadPool pool(3);
  for (const Case& test : Cases(2, WeightType::kF16)) {
    BOOST_TEST_CONTEXT(test.name) {
      const OpenedModel model = OpenModel(test.file);
      const auto tokens = RandomTokens(37, model->config().vocab, 8);
      const std::span all(tokens);
      const std::size_t vocab = model->config().vocab;
      const auto expected = Run(*model, 37, 37, 4, KvType::kF16)(tokens, serial);
      BOOST_TEST(SameBits(Run(*model, 37, 37, 4, KvType::kF16)(tokens, pool), expected));
      for (const std::size_t pass : {1u, 5u, 16u}) {
        Run run(*model, 37, pass, 2, KvType::kF16);
        bool same = true;
        for (std::size_t at = 0; at < tokens.size(); at += pass) {
          const std::size_t count = std::min(pass, tokens.size() - at);
          inlay::ExecutorRef executor = at % 3 == 0 ? inlay::ExecutorRef(serial) : inlay::ExecutorRef(pool);
          same &= SameBits(run(all.subspan(at, count), executor), std::span(expected).subspan(at * vocab, count * vocab));
        }
        BOOST_TEST(same, pass << " tokens a pass");
      }
      const OpenedModel packed = OpenModel(model.file->WritePacked());
      BOOST_TEST((packed->config() == model->config()));
      BOOST_TEST(SameBits(Run(*packed, 37, 37, 1, KvType::kF16)(tokens, serial), expected));
    }
  }
}

// Contexts of several spans, which one token attends to span by span on all threads; and every type of cache.
BOOST_AUTO_TEST_CASE(latents_of_a_long_context) {
  inlay::SerialExecutor serial;
  inlay::ThreadPool pool(3);
  const FileContents file = DeepSeekModel({.layers = 2, .heads = 7}, {.rank = 36, .value = 20});
  const OpenedModel model = OpenModel(file);
  const std::size_t vocab = model->config().vocab;
  const auto tokens = RandomTokens(531, vocab, 21);
  const auto expected = HybridReference(file).Logits(tokens);
  for (const KvType kv : inlay::AllKvTypes::kList) {
    const auto found = Run(*model, 531, 531, 4, kv)(tokens, serial);
    double largest = 0.0, spread = 0.0;
    for (std::size_t t = 0; t < tokens.size(); ++t) {
      for (std::size_t i = 0; i < vocab; ++i) {
        const double value = expected[t](static_cast<Eigen::Index>(i));
        largest = std::max(largest, std::abs(static_cast<double>(found[t * vocab + i]) - value));
        spread += value * value;
      }
    }
    largest /= std::sqrt(spread / static_cast<double>(found.size()));
    BOOST_TEST_CONTEXT(inlay::Name(kv)) {
      // A step of 4 bits is 127 / 8 of that of 8 bits.
      BOOST_TEST(largest < (kv == KvType::kF32   ? 1e-4
                            : kv == KvType::kF16 ? 0.02
                            : kv == KvType::kQ4  ? 0.2 * 127 / 8
                                                 : 0.2));
      Run run(*model, 531, 300, 3, kv);
      bool same = SameBits(run(std::span(tokens).first(257), pool), std::span(found).first(257 * vocab));
      same &= SameBits(run(std::span(tokens).subspan(257, 264), pool), std::span(found).subspan(257 * vocab, 264 * vocab));
      for (std::size_t t = 521; t < 531; ++t) {
        same &= SameBits(run(std::span(tokens).subspan(t, 1), pool), std::span(found).subspan(t * vocab, vocab));
      }
      BOOST_TEST(same);
    }
  }
}

// A position of a latent cache holds one vector of rank + rope_dim elements; a state does not grow.
constexpr std::size_t CacheBytes(const inlay::ModelConfig& config, std::size_t context) {
  inlay::MemoryCounter counter;
  return inlay::SequenceCache::Create(counter, config, KvType::kF16, context) ? counter.used() : 0;
}
static_assert(CacheBytes(inlay::kDeepSeekV3, 4096) == 61ull * 4096 * 576 * 2);
static_assert(CacheBytes(inlay::kQwen3Next_80B_A3B, 8192) - CacheBytes(inlay::kQwen3Next_80B_A3B, 4096) ==
              12ull * 4096 * 2 * 256 * 2 * 2);

BOOST_AUTO_TEST_CASE(static_equals_dynamic) {
  inlay::ThreadPool pool(2);
  const std::vector<Case> cases = Cases(3);
  std::size_t found = 0;
  for (const StaticModelEntry& entry : StaticHybrids()) {
    for (const Case& test : cases) {
      const OpenedModel dynamic_model = OpenModel(test.file);
      if (!(dynamic_model->config() == *entry.config)) continue;
      ++found;
      BOOST_TEST_CONTEXT(test.name) {
        const OpenedModel static_model = OpenModel(test.file, entry.make);
        const auto tokens = RandomTokens(30, dynamic_model->config().vocab, 9);
        BOOST_TEST(SameBits(AllLogits(*static_model, tokens, KvType::kF32, pool, 8),
                            AllLogits(*dynamic_model, tokens, KvType::kF32, pool, 8)));
        const inlay::SessionOptions options{.context = 100, .batch = 9, .threads = 3, .kv = KvType::kF32};
        const inlay::MemoryPlan plan = Value(static_model->PlanFor(options)), compiled = entry.plan(options);
        BOOST_TEST(Value(dynamic_model->PlanFor(options)).kv_cache == plan.kv_cache);
        BOOST_TEST(compiled.weights == plan.weights);
        BOOST_TEST(compiled.kv_cache == plan.kv_cache);
        BOOST_TEST(compiled.scratch == plan.scratch);
      }
    }
  }
  BOOST_TEST(found == StaticHybrids().size());
}

// Several sequences in one pass, some of one token, some without any.
BOOST_AUTO_TEST_CASE(sequences_together) {
  inlay::ThreadPool pool(2);
  for (const Case& test : Cases(4)) {
    BOOST_TEST_CONTEXT(test.name) {
      const OpenedModel model = OpenModel(test.file);
      const std::vector<std::size_t> counts = {5, 0, 1, 9};
      std::vector<std::vector<TokenId>> tokens;
      std::vector<std::unique_ptr<Run>> runs;
      std::vector<SequenceInput> inputs;
      std::vector<float> expected;
      for (const std::size_t count : counts) {
        tokens.push_back(RandomTokens(20, model->config().vocab, 40 + count));
        Run alone(*model, 20, 20);
        runs.push_back(std::make_unique<Run>(*model, 20, 20));
        for (Run* run : {&alone, runs.back().get()}) (*run)(std::span(tokens.back()).first(11), pool);
        const auto part = std::span(tokens.back()).subspan(11, count);
        if (count != 0) {
          const auto logits = alone(part, pool);
          expected.insert(expected.end(), logits.begin(), logits.end());
        }
        inputs.push_back({&runs.back()->cache(), part, Outputs::kAll});
      }
      const inlay::LogitsView logits = Value(model->Forward(inputs, runs[0]->workspace(), pool));
      BOOST_TEST(SameBits({logits.data, logits.rows * logits.vocab}, expected));
      for (std::size_t i = 0; i < counts.size(); ++i) BOOST_TEST(inputs[i].cache->length() == 11 + counts[i]);
    }
  }
}

// Going back to what was saved, or to the beginning, leaves nothing of what was forgotten. Models without states go anywhere.
BOOST_AUTO_TEST_CASE(rollback) {
  inlay::SerialExecutor serial;
  for (const Case& test : Cases(5)) {
    BOOST_TEST_CONTEXT(test.name) {
      const OpenedModel model = OpenModel(test.file);
      const std::size_t vocab = model->config().vocab;
      const auto tokens = RandomTokens(24, vocab, 10), other = RandomTokens(24, vocab, 11);
      const std::span all(tokens), wrong(other);
      const auto expected = Run(*model, 24, 24)(tokens, serial);
      Run run(*model, 24, 24);
      run(wrong, serial);
      BOOST_TEST(run.cache().Truncate(0) == 0u);
      run(all.first(7), serial);
      run.cache().Save();
      run(wrong.subspan(7, 3), serial);
      run(wrong.subspan(10, 4), serial);
      const bool states = model->config().HasStates();
      BOOST_TEST(run.cache().Truncate(9) == (states ? 7u : 9u));
      BOOST_TEST(run.cache().Truncate(7) == 7u);
      BOOST_TEST(SameBits(run(all.subspan(7, 8), serial), std::span(expected).subspan(7 * vocab, 8 * vocab)));
      BOOST_TEST(run.cache().Truncate(3) == (states ? 0u : 3u));
      const std::size_t at = run.cache().length();
      BOOST_TEST(SameBits(run(all.subspan(at), serial), std::span(expected).subspan(at * vocab)));
    }
  }
}

// A pass that overflows changes neither keys nor states.
BOOST_AUTO_TEST_CASE(a_failed_pass_changes_nothing) {
  inlay::SerialExecutor serial;
  for (Case& test : Cases(6)) {
    BOOST_TEST_CONTEXT(test.name) {
      const OpenedModel good = OpenModel(test.file);
      const std::size_t vocab = good->config().vocab;
      auto tokens = RandomTokens(12, vocab, 12);
      std::replace(tokens.begin(), tokens.end(), TokenId{3}, TokenId{4});
      const auto expected = Run(*good, 12, 12)(tokens, serial);
      FileTensor& table = test.file.tensor("token_embd.weight");
      const float nan = std::numeric_limits<float>::quiet_NaN();
      std::memcpy(table.data.data() + 3 * good->config().dim * sizeof(float), &nan, sizeof(nan));
      const OpenedModel model = OpenModel(test.file);
      Run run(*model, 12, 12);
      run(std::span(tokens).first(5), serial);
      const std::vector<TokenId> bad = {1, 3, 2};
      const SequenceInput input{&run.cache(), bad, Outputs::kAll};
      const auto failed = model->Forward({&input, 1}, run.workspace(), serial);
      BOOST_REQUIRE(!failed);
      BOOST_TEST((failed.error().code == ErrorCode::kNonFinite));
      BOOST_TEST(run.cache().length() == 5u);
      BOOST_TEST(SameBits(run(std::span(tokens).subspan(5), serial), std::span(expected).subspan(5 * vocab)));
    }
  }
}

// The configuration survives being written as metadata and read again.
BOOST_AUTO_TEST_CASE(metadata_round_trip) {
  for (Case& test : Cases(7)) {
    BOOST_TEST_CONTEXT(test.name) {
      const OpenedModel model = OpenModel(test.file);
      FileContents again;
      again.tensors = test.file.tensors;
      again.Set("tokenizer.ggml.model", std::string("no_vocab"));
      Value(inlay::ForConfigMetadata(model->config(), [&](std::string_view key, auto value) -> inlay::Result<void> {
        SetAsWritten(again, key, value);
        return {};
      }));
      BOOST_TEST((OpenModel(again)->config() == model->config()));
    }
  }
}

// Layers that predict further tokens, behind the model's own, are left out.
BOOST_AUTO_TEST_CASE(predicting_layers) {
  inlay::SerialExecutor serial;
  const FileContents file = QwenDeltaModel("qwen35", kPlain, {});
  FileContents more = file;
  more.Set("qwen35.block_count", 5u);
  more.Set("qwen35.nextn_predict_layers", 1u);
  for (const char* name : {"blk.4.attn_norm.weight", "blk.4.nextn.eh_proj.weight"}) {
    more.tensors.push_back(file.tensors[1]);
    more.tensors.back().name = name;
  }
  const OpenedModel model = OpenModel(more), plain = OpenModel(file);
  BOOST_TEST((model->config() == plain->config()));
  const auto tokens = RandomTokens(5, model->config().vocab, 1);
  BOOST_TEST(SameBits(AllLogits(*model, tokens, KvType::kF32, serial), AllLogits(*plain, tokens, KvType::kF32, serial)));
  more.tensors.back().name = "blk.5.nextn.eh_proj.weight";
  const auto opened = OpenedFile::Open(WriteGguf(more));
  BOOST_REQUIRE(!opened);
  BOOST_TEST(opened.error().field.view() == "tensor blk.5.nextn.eh_proj.weight");
}

void ExpectError(FileContents file, ErrorCode code, std::string_view field, std::string_view words = "") {
  const auto opened = OpenedFile::Open(WriteGguf(file));
  BOOST_REQUIRE(!opened);
  BOOST_TEST_CONTEXT(opened.error().Message().view()) {
    BOOST_TEST((opened.error().code == code));
    BOOST_TEST(opened.error().field.view() == field);
    BOOST_TEST(opened.error().detail.view().find(words) != std::string_view::npos);
  }
}
template <class T>
FileContents With(FileContents file, const std::string& key, T value) {
  file.Set(key, value);
  return file;
}

BOOST_AUTO_TEST_CASE(bad_files) {
  const FileContents lfm2 = Lfm2Model(kPlain), deepseek = DeepSeekModel(kExperts, {}), qwen = QwenDeltaModel("qwen35", kPlain, {});
  ExpectError(With(lfm2, "lfm2.shortconv.l_cache", 1u), ErrorCode::kMismatch, "state.kernel", "2 .. 16");
  ExpectError(With(lfm2, "lfm2.shortconv.l_cache", 4000000000u), ErrorCode::kMismatch, "state.kernel");
  ExpectError(With(lfm2, "lfm2.attention.causal", false), ErrorCode::kMismatch, "state.layers", "causal");
  ExpectError(With(lfm2, "lfm2.attention.head_count_kv", std::vector<std::int32_t>{0, 0, 2}), ErrorCode::kMismatch,
              "lfm2.attention.head_count_kv", "3 entries for 4 layers");
  ExpectError(With(lfm2, "lfm2.attention.head_count_kv", std::vector<std::int32_t>{0, 3, 2, 0}), ErrorCode::kUnsupported,
              "lfm2.attention.head_count_kv");
  // Layers of the other kind lack their tensors.
  ExpectError(With(lfm2, "lfm2.attention.head_count_kv", std::vector<std::int32_t>{2, 0, 2, 0}), ErrorCode::kMismatch,
              "tensor blk.0.shortconv.conv.weight", "is not part of");
  ExpectError(With(qwen, "qwen35.ssm.group_count", 4u), ErrorCode::kMismatch, "state.groups");
  ExpectError(With(qwen, "qwen35.ssm.time_step_rank", 0u), ErrorCode::kMismatch, "state.heads");
  ExpectError(With(qwen, "qwen35.ssm.inner_size", 73u), ErrorCode::kMismatch, "state.heads");
  ExpectError(With(qwen, "qwen35.ssm.state_size", 1000u), ErrorCode::kMismatch, "state.key_dim");
  ExpectError(With(qwen, "qwen35.ssm.conv_kernel", 5u), ErrorCode::kMismatch, "tensor blk.0.ssm_conv1d.weight", "has shape");
  ExpectError(With(qwen, "qwen35.full_attention_interval", 1000u), ErrorCode::kUnsupported, "qwen35.full_attention_interval");
  ExpectError(With(deepseek, "deepseek2.attention.kv_lora_rank", 4096u), ErrorCode::kMismatch, "head_dim");
  ExpectError(With(deepseek, "deepseek2.attention.key_length_mla", 6u), ErrorCode::kMismatch, "latent.head_dim");
  ExpectError(With(deepseek, "deepseek2.attention.value_length_mla", 13u), ErrorCode::kMismatch,
              "tensor blk.0.attn_v_b.weight", "has shape");
  ExpectError(With(deepseek, "deepseek2.expert_shared_count", 3u), ErrorCode::kMismatch, "tensor blk.1.ffn_gate_shexp.weight");
  ExpectError(With(deepseek, "deepseek2.expert_shared_count", 4000000000u), ErrorCode::kTooLarge,
              "deepseek2.expert_shared_count");
  for (const FileContents& file : {lfm2, deepseek, qwen, DeepSeekModel(kExperts, {.legacy = true})}) {
    for (const char* name : {"blk.0.shortconv.in_proj.weight", "blk.0.ssm_out.weight", "blk.0.attn_kv_a_mqa.weight",
                             "blk.0.attn_kv_b.weight"}) {
      FileContents without = file;
      without.Erase(name);
      if (without.tensors.size() == file.tensors.size()) continue;
      const bool convolution = std::string_view(name).find("in_proj") != std::string_view::npos;
      const bool both = std::string_view(name).find("kv_b") != std::string_view::npos;
      ExpectError(without, ErrorCode::kMissing,
                  convolution ? "tensor blk.0.attn_qkv.weight" : both ? "tensor blk.0.attn_k_b_rows.weight"
                                                                      : "tensor " + std::string(name),
                  convolution ? "shortconv.in_proj.weight" : both ? "attn_kv_b.weight" : "no such tensor");
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
