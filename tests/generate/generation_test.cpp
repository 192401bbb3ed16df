// Generation: text as it comes, and every way in which it ends.
#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "inlay/core/thread_pool.hpp"
#include "inlay/generate/generation.hpp"
#include "tests/support/allocation_counter.hpp"
#include "tests/support/random_model.hpp"
#include "tests/support/test_model.hpp"

namespace {

using namespace inlay_test;
using inlay::ErrorCode;
using inlay::FinishReason;
using inlay::GenerateOptions;
using inlay::TokenId;
using TestSession = inlay::Session<TestModel>;
using TestGeneration = inlay::Generation<TestModel>;

constexpr std::size_t kVocab = 330;

// The tiny vocabulary of random models, as a file without tensors.
class Vocabulary {
 public:
  Vocabulary() {
    FileContents file;
    AddTinyVocabulary(file, kVocab);
    bytes_ = WriteGguf(file);
    index_.resize(inlay::GgufFile::IndexBytes(bytes_));
    inlay::Arena index = Value(inlay::Arena::Create(index_));
    const inlay::GgufFile gguf = Value(inlay::GgufFile::Open(bytes_, index));
    memory_.resize(Value(inlay::Tokenizer::ArenaBytesFor(gguf)));
    inlay::Arena arena = Value(inlay::Arena::Create(memory_));
    tokenizer_ = Value(inlay::Tokenizer::FromGguf(gguf, arena));
    pieces_ = TinyPieces(kVocab);
  }
  const inlay::Tokenizer& tokenizer() const { return *tokenizer_; }
  TokenId Id(std::string_view piece) const {
    const auto found = std::find(pieces_.begin(), pieces_.end(), piece);
    BOOST_REQUIRE((found != pieces_.end()));
    return static_cast<TokenId>(found - pieces_.begin());
  }
  // One token per piece, separated by spaces in `pieces`.
  std::vector<TokenId> Ids(const std::string& pieces) const {
    std::vector<TokenId> ids;
    for (std::size_t at = 0; at < pieces.size();) {
      const std::size_t end = std::min(pieces.find(' ', at), pieces.size());
      ids.push_back(Id(std::string_view(pieces).substr(at, end - at)));
      at = end + 1;
    }
    return ids;
  }

 private:
  AlignedBytes bytes_, index_, memory_;
  std::optional<inlay::Tokenizer> tokenizer_;
  std::vector<std::string> pieces_;
};

constexpr TokenId kBos = 1, kEos = 2;

// A model that says what it is told: after n tokens, the n-th of a script.
class ScriptedModel final : public TestModel {
 public:
  explicit ScriptedModel(std::vector<TokenId> script) : script_(std::move(script)) {}

  const inlay::ModelConfig& config() const override { return config_; }
  inlay::Result<inlay::MemoryPlan> PlanFor(const inlay::SessionOptions& options) const override {
    inlay::MemoryCounter cache, scratch;
    INLAY_CHECK_OK(inlay::SequenceCache::Create(cache, config_, options.kv, options.ContextFor(config_)));
    INLAY_CHECK_OK(inlay::Scratch::Create(scratch, config_, Shape(options)));
    return inlay::MemoryPlan{0, cache.used(), scratch.used()};
  }
  inlay::Result<inlay::SequenceCache> NewCache(const inlay::SessionOptions& options, inlay::Arena& arena) const override {
    return inlay::SequenceCache::Create(arena, config_, options.kv, options.ContextFor(config_));
  }
  inlay::Result<inlay::Workspace> NewWorkspace(const inlay::SessionOptions& options, inlay::Arena& arena) const override {
    return inlay::Workspace::Create(arena, config_, Shape(options), inlay::ModelWeights{});
  }
  inlay::Result<inlay::LogitsView> Forward(std::span<const inlay::SequenceInput> sequences, inlay::Workspace& workspace,
                                           inlay::ExecutorRef) const override {
    inlay::SequenceCache& cache = *sequences[0].cache;
    cache.Advance(sequences[0].tokens.size());
    float* logits = workspace.scratch().logits;
    std::fill(logits, logits + kVocab, 0.0f);
    logits[script_.at((cache.length() - 1) % script_.size())] = 10.0f;
    return inlay::LogitsView{logits, inlay::OutputCount(sequences[0]), kVocab};
  }

 private:
  inlay::ScratchShape Shape(const inlay::SessionOptions& options) const {
    inlay::ScratchShape shape;
    shape.context = options.ContextFor(config_);
    shape.tokens = options.batch;
    return shape;
  }
  inlay::ModelConfig config_{.dim = 2, .layers = 1, .heads = 1, .kv_heads = 1, .head_dim = 2, .ffn_dim = 1,
                             .vocab = kVocab, .context = 1000, .rope_dim = 2};
  std::vector<TokenId> script_;
};

// A session that has read a beginning of sequence, and a generation after it.
struct Run {
  std::vector<std::string> pieces;
  std::string text;
  std::vector<TokenId> tokens;
  FinishReason reason = FinishReason::kNone;
  inlay::Result<void> status;
  std::size_t count = 0;

  explicit Run(const TestModel& model, const inlay::Tokenizer& tokenizer, const GenerateOptions& options,
               std::size_t context = 0, inlay::ExecutorRef executor = Serial(),
               const std::function<void(std::size_t)>& after_token = [](std::size_t) {}) {
    const inlay::SessionOptions session_options{.context = context, .batch = 8};
    AlignedBytes session_memory(Value(TestSession::MemoryBytes(model, session_options)));
    TestSession session = Value(TestSession::Create(model, session_options, session_memory));
    Value(session.Append({&kBos, 1}, executor));
    AlignedBytes memory(TestGeneration::MemoryBytes(model, tokenizer, options));
    TestGeneration generation = Value(TestGeneration::Create(session, tokenizer, {&kBos, 1}, options, memory, executor));
    BOOST_TEST(generation.token() == -1);
    BOOST_TEST((generation.finish_reason() == FinishReason::kNone));
    while (generation.Next()) {
      pieces.emplace_back(generation.text());
      text += generation.text();
      if (generation.tokens() > tokens.size()) tokens.push_back(generation.token());
      after_token(generation.tokens());
    }
    if (generation.tokens() > tokens.size()) tokens.push_back(generation.token());
    BOOST_TEST(generation.text().empty());
    reason = generation.finish_reason();
    status = generation.status();
    count = generation.tokens();
    BOOST_TEST((reason == FinishReason::kError) == !status);
    // The end is the end.
    BOOST_TEST(!generation.Next());
    BOOST_TEST((generation.finish_reason() == reason));
    BOOST_TEST(generation.tokens() == count);
  }

  static inlay::ExecutorRef Serial() {
    static inlay::SerialExecutor serial;
    return serial;
  }
};

struct Fixture {
  Vocabulary vocabulary;

  Run Say(const std::string& pieces, const GenerateOptions& options) {
    return Run(ScriptedModel(vocabulary.Ids(pieces)), vocabulary.tokenizer(), options);
  }
};

BOOST_FIXTURE_TEST_SUITE(generate_generation, Fixture)

BOOST_AUTO_TEST_CASE(text_of_tokens) {
  const Run run = Say("\xE2\x96\x81h e y \xE2\x96\x81 w0", {.max_tokens = 5});
  BOOST_TEST(run.text == "hey w0");  // without the space that begins the first word
  BOOST_TEST((run.reason == FinishReason::kMaxTokens));
  BOOST_TEST(run.tokens == vocabulary.Ids("\xE2\x96\x81h e y \xE2\x96\x81 w0"));
  BOOST_TEST(run.pieces.size() == 5u);
  BOOST_TEST(run.pieces[1] == "e");
}

BOOST_AUTO_TEST_CASE(token_limit) {
  for (const std::size_t most : {0u, 1u, 2u, 30u}) {
    const Run run = Say("a b c", {.max_tokens = most});
    BOOST_TEST(run.count == most);
    BOOST_TEST(run.text.size() == most);
    BOOST_TEST((run.reason == FinishReason::kMaxTokens));
    BOOST_TEST(run.status.has_value());
  }
}

BOOST_AUTO_TEST_CASE(end_of_text) {
  const Run run = Say("a b </s> c", {});
  BOOST_TEST(run.text == "ab");
  BOOST_TEST(run.count == 3u);
  BOOST_TEST((run.reason == FinishReason::kEndOfText));
  BOOST_TEST(run.tokens.back() == kEos);
  const Run on = Say("a b </s> c", {.max_tokens = 8, .stop_at_end_of_text = false});
  BOOST_TEST(on.text == "abcabc");
  BOOST_TEST((on.reason == FinishReason::kMaxTokens));
}

BOOST_AUTO_TEST_CASE(stop_strings) {
  using Stops = std::vector<std::string_view>;
  struct Case {
    std::string script;
    Stops stop;
    std::string text;
    FinishReason reason;
    std::size_t count;
    std::size_t most = 10;
  };
  const std::vector<Case> cases = {
      {"a b c d", {"bc"}, "a", FinishReason::kStopString, 3},              // over two tokens
      {"a w1 d", {"1"}, "aw", FinishReason::kStopString, 2},               // inside one
      {"a b a b c", {"abc"}, "ab", FinishReason::kStopString, 5},          // after a false start
      {"a b c d e f g h", {"xyz", "fg", "h"}, "abcde", FinishReason::kStopString, 7},
      {"a b c d", {"a"}, "", FinishReason::kStopString, 1},                // at once
      {"a b c d e", {"dex"}, "abcde", FinishReason::kMaxTokens, 5, 5},        // held back to the end, then shown
      {"a b </s>", {"bc"}, "ab", FinishReason::kEndOfText, 3},             // the same at an end of text
      {"a \xE2\x96\x81 b", {" b"}, "a", FinishReason::kStopString, 3},
      {"a <0xC3> <0xA9> b", {"\xC3\xA9"}, "a", FinishReason::kStopString, 3},  // a character of two tokens
  };
  for (const Case& test : cases) {
    BOOST_TEST_CONTEXT(test.script) {
      const Run run = Say(test.script, {.max_tokens = test.most, .stop = test.stop});
      BOOST_TEST(run.text == test.text);
      BOOST_TEST((run.reason == test.reason));
      BOOST_TEST(run.count == test.count);
    }
  }
}

BOOST_AUTO_TEST_CASE(characters_are_whole) {
  const Run run = Say("a <0xF0> <0x9F> <0x99> <0x82> <0xC3> <0xA9> \xE6\xB0\xB4 b", {.max_tokens = 9});
  const std::vector<std::string> expected = {"a", "", "", "", "\xF0\x9F\x99\x82", "", "\xC3\xA9", "\xE6\xB0\xB4", "b"};
  BOOST_TEST(run.pieces == expected);
  // Bytes that become no character come out as they are, and what is left at the end too.
  const Run broken = Say("a <0xF0> <0x9F> b <0xFF> <0xC3>", {.max_tokens = 6});
  BOOST_TEST(broken.text == "a\xF0\x9F" "b\xFF\xC3");
}

BOOST_AUTO_TEST_CASE(full_context) {
  const std::string_view stop = "abcdefghijklm";
  const ScriptedModel model(vocabulary.Ids("a b c d e f g h i j k l m n"));
  for (const std::span<const std::string_view> stops : {std::span<const std::string_view>(), std::span(&stop, 1)}) {
    const Run run(model, vocabulary.tokenizer(), {.stop = stops}, 10);
    BOOST_TEST((run.reason == FinishReason::kError));
    BOOST_REQUIRE(!run.status);
    BOOST_TEST((run.status.error().code == ErrorCode::kContextFull));
    // The beginning takes one position; after nine more tokens the tenth is known, too. Nothing of it is lost.
    BOOST_TEST(run.text == "abcdefghij");
    BOOST_TEST(run.count == 10u);
  }
}

BOOST_AUTO_TEST_CASE(cancelled) {
  const std::string_view stop = "hij";
  const ScriptedModel model(vocabulary.Ids("a b c d e f g h i k"));
  const std::string all = "abcdefghik";
  for (std::size_t after = 0; after <= all.size(); ++after) {
    std::atomic<bool> cancel{after == 0};
    const Run run(model, vocabulary.tokenizer(), {.max_tokens = 10, .stop = {&stop, 1}, .cancel = &cancel}, 0, Run::Serial(),
                  [&](std::size_t tokens) { cancel = tokens == after; });
    BOOST_TEST((run.reason == FinishReason::kError));
    BOOST_REQUIRE(!run.status);
    BOOST_TEST((run.status.error().code == ErrorCode::kCancelled));
    BOOST_TEST(run.text == all.substr(0, after));
    BOOST_TEST(run.count == after);
  }
}

BOOST_AUTO_TEST_CASE(needs_a_prompt) {
  const ScriptedModel model({5});
  AlignedBytes session_memory(Value(TestSession::MemoryBytes(model, {})));
  TestSession session = Value(TestSession::Create(model, {}, session_memory));
  AlignedBytes memory(TestGeneration::MemoryBytes(model, vocabulary.tokenizer(), {}));
  TestGeneration generation =
      Value(TestGeneration::Create(session, vocabulary.tokenizer(), {}, {}, memory, Run::Serial()));
  BOOST_TEST(!generation.Next());
  BOOST_REQUIRE(!generation.status());
  BOOST_TEST((generation.status().error().code == ErrorCode::kInvalidArgument));
}

BOOST_AUTO_TEST_CASE(refuses_options_and_memory) {
  const ScriptedModel model({5});
  AlignedBytes session_memory(Value(TestSession::MemoryBytes(model, {})));
  TestSession session = Value(TestSession::Create(model, {}, session_memory));
  AlignedBytes memory(1 << 20);
  const auto create = [&](const GenerateOptions& options, std::span<std::byte> from, std::span<const TokenId> prompt = {}) {
    return TestGeneration::Create(session, vocabulary.tokenizer(), prompt, options, from, Run::Serial());
  };
  const std::string_view empty_stop;
  const TokenId bad = kVocab;
  const auto code = [](const auto& result) {
    BOOST_REQUIRE(!result);
    return result.error().code;
  };
  BOOST_TEST((code(create({.sampling = {.temperature = -1.0f}}, memory)) == ErrorCode::kInvalidArgument));
  BOOST_TEST((code(create({.stop = {&empty_stop, 1}}, memory)) == ErrorCode::kInvalidArgument));
  BOOST_TEST((code(create({}, memory, {&bad, 1})) == ErrorCode::kInvalidArgument));
  BOOST_TEST((code(create({}, std::span(memory).subspan(1))) == ErrorCode::kInvalidArgument));
  const std::string_view stop = "stop here";
  for (const GenerateOptions& options :
       {GenerateOptions{}, GenerateOptions{.sampling = {.temperature = 1.0f, .top_k = 40}, .stop = {&stop, 1}},
        GenerateOptions{.sampling = {.temperature = 1.0f, .repetition_penalty = 1.1f}}}) {
    const std::size_t bytes = TestGeneration::MemoryBytes(model, vocabulary.tokenizer(), options);
    BOOST_TEST(create(options, std::span(memory).first(bytes)).has_value());
    BOOST_TEST((code(create(options, std::span(memory).first(bytes - 64))) == ErrorCode::kOutOfMemory));
    BOOST_TEST((code(create(options, std::span(memory).first(bytes - 1))) == ErrorCode::kOutOfMemory));
  }
}

constexpr inlay::ModelConfig kConfig{.dim = 64, .layers = 2, .heads = 4, .kv_heads = 2, .head_dim = 16, .ffn_dim = 96,
                                     .vocab = kVocab, .context = 400, .rope_dim = 16};

// What a random model writes, stored: fails when any part of the way from weights to tokens computes something else. The
// smallest distance between best and second best logit on the way is far above rounding.
BOOST_AUTO_TEST_CASE(stored_tokens) {
  const OpenedModel model = OpenModel(RandomModel({.config = kConfig, .seed = 2026, .output_gain = 8.0f, .tokenizer = true}));
  const Run run(*model, vocabulary.tokenizer(), {.max_tokens = 40, .stop_at_end_of_text = false});
  const std::vector<TokenId> expected = {316, 183, 113, 36,  208, 187, 257, 162, 240, 173, 249, 214, 12,  149,
                                         266, 248, 187, 206, 116, 198, 157, 231, 9,   46,  321, 196, 53,  286,
                                         230, 328, 271, 273, 173, 249, 320, 281, 42,  258, 211, 242};
  BOOST_TEST(run.tokens == expected, boost::test_tools::per_element());
  // The choices were clear: the margin is far above what rounding does.
  std::vector<TokenId> read = {kBos};
  read.insert(read.end(), expected.begin(), expected.end() - 1);
  const std::vector<float> logits = AllLogits(*model, read, inlay::KvType::kF16, Run::Serial());
  float margin = 100.0f;
  for (std::size_t t = 0; t < read.size(); ++t) {
    std::vector<float> row(&logits[t * kVocab], &logits[t * kVocab] + kVocab);
    std::nth_element(row.begin(), row.begin() + 1, row.end(), std::greater<>());
    margin = std::min(margin, row[0] - row[1]);
  }
  BOOST_TEST(margin > 0.1f);
}

BOOST_AUTO_TEST_CASE(seeds) {
  const OpenedModel model = OpenModel(RandomModel({.config = kConfig, .seed = 5, .tokenizer = true}));
  const auto tokens = [&](std::uint64_t seed, inlay::ExecutorRef executor) {
    const inlay::SamplerOptions sampling{.temperature = 0.9f, .top_k = 50, .top_p = 0.95f, .seed = seed};
    return Run(*model, vocabulary.tokenizer(),
               {.max_tokens = 60, .sampling = sampling, .stop_at_end_of_text = false}, 0, executor).tokens;
  };
  inlay::ThreadPool pool(4);
  const auto first = tokens(1, Run::Serial());
  BOOST_TEST(first.size() == 60u);
  BOOST_TEST(tokens(1, Run::Serial()) == first);
  BOOST_TEST(tokens(1, pool) == first);
  BOOST_TEST(tokens(2, Run::Serial()) != first);
}

// After a stop of any kind a session goes on as if it had not stopped.
BOOST_AUTO_TEST_CASE(goes_on) {
  const OpenedModel model = OpenModel(RandomModel({.config = kConfig, .seed = 5, .tokenizer = true}));
  const std::vector<TokenId> whole =
      Run(*model, vocabulary.tokenizer(), {.max_tokens = 30, .stop_at_end_of_text = false}).tokens;
  AlignedBytes session_memory(Value(TestSession::MemoryBytes(*model, {})));
  TestSession session = Value(TestSession::Create(*model, {}, session_memory));
  Value(session.Append({&kBos, 1}, Run::Serial()));
  std::vector<TokenId> tokens;
  for (const std::size_t count : {1u, 7u, 2u, 20u}) {
    const GenerateOptions options{.max_tokens = count, .stop_at_end_of_text = false};
    AlignedBytes memory(TestGeneration::MemoryBytes(*model, vocabulary.tokenizer(), options));
    TestGeneration generation =
        Value(TestGeneration::Create(session, vocabulary.tokenizer(), tokens, options, memory, Run::Serial()));
    std::size_t seen = 0;
    for ([[maybe_unused]] const std::string_view text : generation) {
      if (generation.tokens() == seen) continue;  // text that was held back
      ++seen;
      tokens.push_back(generation.token());
    }
    BOOST_TEST(seen == count);
    BOOST_TEST(session.length() == tokens.size());  // the beginning, and all but the last
    Value(session.Append({&tokens.back(), 1}, Run::Serial()));
  }
  BOOST_TEST(tokens == whole);
}

BOOST_AUTO_TEST_CASE(allocates_nothing) {
  const OpenedModel model = OpenModel(RandomModel({.config = kConfig, .seed = 5, .tokenizer = true}));
  inlay::ThreadPool pool(3);
  AlignedBytes session_memory(Value(TestSession::MemoryBytes(*model, {})));
  TestSession session = Value(TestSession::Create(*model, {}, session_memory));
  const std::vector<std::string_view> stops = {"never to be seen", "nor this"};
  const GenerateOptions options{.max_tokens = 200,
                                .sampling = {.temperature = 1.0f, .top_k = 40, .top_p = 0.9f, .repetition_penalty = 1.1f},
                                .stop = stops,
                                .stop_at_end_of_text = false};
  AlignedBytes memory(TestGeneration::MemoryBytes(*model, vocabulary.tokenizer(), options));
  std::size_t bytes = 0;
  bool created = false;
  FinishReason reason = FinishReason::kNone;
  AllocationScope scope;
  const bool read = session.Append({&kBos, 1}, pool).has_value();
  auto generation = TestGeneration::Create(session, vocabulary.tokenizer(), {&kBos, 1}, options, memory, pool);
  if (generation) {
    created = true;
    while (generation->Next()) bytes += generation->text().size();
    reason = generation->finish_reason();
  }
  const AllocationCounts counts = scope.counts();
  BOOST_TEST(read);
  BOOST_TEST(created);
  BOOST_TEST(bytes != 0u);
  BOOST_TEST((reason == FinishReason::kMaxTokens));
  BOOST_TEST(counts.allocations == 0u);
  BOOST_TEST(counts.frees == 0u);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
