// Sessions: memory, prompts in pieces, errors that leave everything as it was, and no allocation after creation.
#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "inlay/core/thread_pool.hpp"
#include "inlay/generate/session.hpp"
#include "tests/support/allocation_counter.hpp"
#include "tests/support/random_model.hpp"
#include "tests/support/test_model.hpp"

namespace {

using namespace inlay_test;
using inlay::ErrorCode;
using inlay::KvType;
using inlay::SessionOptions;
using inlay::TokenId;
using TestSession = inlay::Session<TestModel>;

constexpr inlay::ModelConfig kConfig = kOddConfig;

// A session and its memory. The memory is filled with a pattern first: what it held must not matter.
class OwnedSession {
 public:
  OwnedSession(const TestModel& model, const SessionOptions& options, int pattern = 0)
      : memory_(Value(TestSession::MemoryBytes(model, options)), static_cast<std::byte>(pattern)),
        session_(Value(TestSession::Create(model, options, memory_))) {}
  TestSession& operator*() { return session_; }
  TestSession* operator->() { return &session_; }
  std::vector<float> Logits() const { return {session_.logits().begin(), session_.logits().end()}; }

 private:
  AlignedBytes memory_;
  TestSession session_;
};

bool SameBits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

std::vector<float> LogitsAfter(const TestModel& model, std::span<const TokenId> tokens, const SessionOptions& options) {
  inlay::SerialExecutor serial;
  OwnedSession session(model, options);
  Value(session->Append(tokens, serial));
  return session.Logits();
}

BOOST_AUTO_TEST_SUITE(generate_session)

BOOST_AUTO_TEST_CASE(appends) {
  inlay::SerialExecutor serial;
  const OpenedModel model = OpenModel(RandomModel({.config = kConfig}));
  const SessionOptions options{.context = 100, .batch = 16};
  OwnedSession session(*model, options);
  BOOST_TEST(session->length() == 0u);
  BOOST_TEST(session->remaining() == 100u);
  BOOST_TEST(session->logits().empty());
  BOOST_TEST(&session->model() == &*model);
  const auto tokens = RandomTokens(50, kConfig.vocab, 1);
  BOOST_REQUIRE(session->Append(std::span(tokens).first(37), serial));
  BOOST_TEST(session->length() == 37u);
  BOOST_TEST(session->remaining() == 63u);
  BOOST_TEST(session->logits().size() == kConfig.vocab);
  BOOST_REQUIRE(session->Append(std::span(tokens).subspan(37), serial));
  // The same as at once, and with any size of passes.
  for (const std::size_t batch : {1u, 5u, 50u, 4000u}) {
    const auto expected = LogitsAfter(*model, tokens, {.context = 100, .batch = batch});
    BOOST_TEST(SameBits(session.Logits(), expected));
  }
  // Going back.
  session->Truncate(37);
  BOOST_TEST(session->length() == 37u);
  BOOST_TEST(session->logits().empty());
  BOOST_REQUIRE(session->Append(std::span(tokens).subspan(37), serial));
  BOOST_TEST(SameBits(session.Logits(), LogitsAfter(*model, tokens, options)));
}

BOOST_AUTO_TEST_CASE(trained_context_by_default) {
  const OpenedModel model = OpenModel(RandomModel({.config = kConfig}));
  OwnedSession session(*model, {});
  BOOST_TEST(session->remaining() == kConfig.context);
}

BOOST_AUTO_TEST_CASE(progress) {
  inlay::SerialExecutor serial;
  const OpenedModel model = OpenModel(RandomModel({.config = kConfig}));
  OwnedSession session(*model, {.context = 100, .batch = 16});
  const auto tokens = RandomTokens(40, kConfig.vocab, 1);
  std::vector<std::pair<std::size_t, std::size_t>> calls;
  BOOST_REQUIRE(session->Append(tokens, serial, [&](std::size_t done, std::size_t total) {
    calls.emplace_back(done, total);
    return true;
  }));
  const std::vector<std::pair<std::size_t, std::size_t>> expected = {{16, 40}, {32, 40}, {40, 40}};
  BOOST_TEST((calls == expected));
}

// Stopped after any pass, the session is as it was before the call.
BOOST_AUTO_TEST_CASE(cancelled_prompt) {
  inlay::SerialExecutor serial;
  const OpenedModel model = OpenModel(RandomModel({.config = kConfig}));
  const SessionOptions options{.context = 100, .batch = 8};
  const auto tokens = RandomTokens(45, kConfig.vocab, 1), other = RandomTokens(40, kConfig.vocab, 2);
  const auto expected = LogitsAfter(*model, tokens, options);
  for (std::size_t passes = 1; passes <= 5; ++passes) {
    OwnedSession session(*model, options);
    Value(session->Append(std::span(tokens).first(5), serial));
    std::size_t calls = 0;
    const auto result = session->Append(other, serial, [&](std::size_t, std::size_t) { return ++calls < passes; });
    BOOST_REQUIRE(!result);
    BOOST_TEST((result.error().code == ErrorCode::kCancelled));
    BOOST_TEST(calls == passes);
    BOOST_TEST(session->length() == 5u);
    BOOST_TEST(session->logits().empty());
    BOOST_REQUIRE(session->Append(std::span(tokens).subspan(5), serial));
    BOOST_TEST(SameBits(session.Logits(), expected));
  }
}

BOOST_AUTO_TEST_CASE(refuses_tokens_that_do_not_fit) {
  inlay::SerialExecutor serial;
  const OpenedModel model = OpenModel(RandomModel({.config = kConfig}));
  const SessionOptions options{.context = 20, .batch = 8};
  const auto tokens = RandomTokens(20, kConfig.vocab, 1), more = RandomTokens(21, kConfig.vocab, 2);
  OwnedSession session(*model, options);
  const auto expect_error = [&](std::span<const TokenId> added, ErrorCode code, std::string_view field) {
    const std::size_t length = session->length();
    const auto result = session->Append(added, serial);
    BOOST_REQUIRE(!result);
    BOOST_TEST((result.error().code == code));
    BOOST_TEST(result.error().field.view() == field);
    BOOST_TEST(session->length() == length);
    BOOST_TEST(session->logits().empty());
  };
  expect_error({}, ErrorCode::kInvalidArgument, "tokens");
  expect_error(more, ErrorCode::kContextFull, "tokens");
  Value(session->Append(std::span(tokens).first(19), serial));
  expect_error(std::span(more).first(2), ErrorCode::kContextFull, "tokens");
  // The last position is usable, and then the session is full, and still in order.
  BOOST_REQUIRE(session->Append(std::span(tokens).last(1), serial));
  BOOST_TEST(session->remaining() == 0u);
  BOOST_TEST(SameBits(session.Logits(), LogitsAfter(*model, tokens, options)));
  expect_error(std::span(more).first(1), ErrorCode::kContextFull, "tokens");
  session->Truncate(10);
  BOOST_REQUIRE(session->Append(std::span(tokens).subspan(10), serial));
  BOOST_TEST(SameBits(session.Logits(), LogitsAfter(*model, tokens, options)));
  session->Truncate(10);
  for (const TokenId bad : {TokenId{-1}, static_cast<TokenId>(kConfig.vocab), std::numeric_limits<TokenId>::max(),
                            std::numeric_limits<TokenId>::min()}) {
    // In the first pass, and in the second, when the first has been stored already.
    expect_error(std::array{bad}, ErrorCode::kInvalidArgument, "token id");
    std::vector<TokenId> late(tokens.begin(), tokens.begin() + 10);
    late[9] = bad;
    expect_error(late, ErrorCode::kInvalidArgument, "token id");
  }
  BOOST_REQUIRE(session->Append(std::span(tokens).subspan(10), serial));
  BOOST_TEST(SameBits(session.Logits(), LogitsAfter(*model, tokens, options)));
}

BOOST_AUTO_TEST_CASE(refuses_options_out_of_range) {
  const OpenedModel model = OpenModel(RandomModel({.config = kConfig}));
  constexpr std::size_t kHuge = std::numeric_limits<std::size_t>::max();
  const std::vector<std::pair<SessionOptions, std::string>> cases = {
      {{.context = (std::size_t{1} << 28) + 1}, "context"}, {{.context = kHuge}, "context"},
      {{.batch = 0}, "batch"},     {{.batch = 65537}, "batch"}, {{.batch = kHuge}, "batch"},
      {{.outputs = 0}, "outputs"}, {{.threads = 0}, "threads"}, {{.threads = 1025}, "threads"},
  };
  AlignedBytes memory(4096);
  for (const auto& [options, field] : cases) {
    const auto bytes = TestSession::MemoryBytes(*model, options);
    BOOST_REQUIRE(!bytes);
    BOOST_TEST((bytes.error().code == ErrorCode::kInvalidArgument));
    BOOST_TEST(bytes.error().field.view() == field);
    const auto session = TestSession::Create(*model, options, memory);
    BOOST_REQUIRE(!session);
    BOOST_TEST(session.error().field.view() == field);
  }
}

BOOST_AUTO_TEST_CASE(refuses_memory_that_does_not_fit) {
  const OpenedModel model = OpenModel(RandomModel({.config = kConfig}));
  const SessionOptions options{.context = 100, .batch = 3};
  const std::size_t needed = Value(TestSession::MemoryBytes(*model, options));
  AlignedBytes memory(needed + 1);
  BOOST_TEST(TestSession::Create(*model, options, std::span(memory).first(needed)).has_value());
  for (const std::size_t less : {std::size_t{1}, std::size_t{64}, needed / 2, needed}) {
    const auto session = TestSession::Create(*model, options, std::span(memory).first(needed - less));
    BOOST_REQUIRE(!session);
    BOOST_TEST((session.error().code == ErrorCode::kOutOfMemory), "less by " << less);
    BOOST_TEST(session.error().field.view() == "session memory");
  }
  const auto unaligned = TestSession::Create(*model, options, std::span(memory).subspan(1));
  BOOST_REQUIRE(!unaligned);
  BOOST_TEST((unaligned.error().code == ErrorCode::kInvalidArgument));
}

BOOST_AUTO_TEST_CASE(old_content_of_the_memory_does_not_matter) {
  inlay::SerialExecutor serial;
  for (const auto& [config, type] : {std::pair{kOddConfig, inlay::WeightType::kF32},
                                     {kSuperBlockConfig, inlay::WeightType::kQ4_K},
                                     {kExpertConfig, inlay::WeightType::kQ8_0}}) {
    const OpenedModel model = OpenModel(RandomModel({.config = config, .type = AllOf(type)}));
    const auto tokens = RandomTokens(80, config.vocab, 1);
    for (const KvType kv : {KvType::kF32, KvType::kF16, KvType::kBF16, KvType::kQ8, KvType::kQ4}) {
      const SessionOptions options{.context = 100, .batch = 64, .kv = kv};
      std::vector<std::vector<float>> logits;
      for (const int pattern : {0x00, 0xFF, 0x7F}) {  // all-ones are NaN in every float type
        OwnedSession session(*model, options, pattern);
        Value(session->Append(tokens, serial));
        Value(session->Append({&tokens[3], 1}, serial));
        logits.push_back(session.Logits());
      }
      BOOST_TEST(SameBits(logits[0], logits[1]));
      BOOST_TEST(SameBits(logits[0], logits[2]));
    }
  }
}

// Weights that give NaN for one token only: an error, and nothing of it left behind.
BOOST_AUTO_TEST_CASE(non_finite_logits) {
  inlay::SerialExecutor serial;
  FileContents file = RandomModel({.config = kConfig});
  FileTensor& embedding = file.tensor("token_embd.weight");
  const TokenId poisoned = 7;
  const float bad = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(&embedding.data[static_cast<std::size_t>(poisoned) * kConfig.dim * 4 + 12], &bad, sizeof(bad));
  const OpenedModel model = OpenModel(file);
  std::vector<TokenId> tokens = RandomTokens(60, kConfig.vocab, 1);
  std::replace(tokens.begin(), tokens.end(), poisoned, poisoned + 1);
  for (const KvType kv : {KvType::kF32, KvType::kF16, KvType::kBF16, KvType::kQ8, KvType::kQ4}) {
    const SessionOptions options{.context = 100, .batch = 60, .kv = kv};
    const auto expected = LogitsAfter(*model, tokens, options);
    OwnedSession session(*model, options);
    Value(session->Append(std::span(tokens).first(10), serial));
    std::vector<TokenId> with_poison = tokens;
    with_poison[20] = poisoned;
    const auto result = session->Append(with_poison, serial);
    BOOST_REQUIRE(!result);
    BOOST_TEST((result.error().code == ErrorCode::kNonFinite));
    BOOST_TEST(session->length() == 10u);
    BOOST_REQUIRE(session->Append(std::span(tokens).subspan(10), serial));
    BOOST_TEST(SameBits(session.Logits(), expected));
  }
}

BOOST_AUTO_TEST_CASE(allocates_nothing) {
  for (const auto& [config, type] : {std::pair{kSuperBlockConfig, inlay::WeightType::kQ4_K},
                                     {kExpertConfig, inlay::WeightType::kQ8_0},
                                     {kOddConfig, inlay::WeightType::kF32}}) {
    const OpenedModel model = OpenModel(RandomModel({.config = config, .type = AllOf(type)}));
    const auto tokens = RandomTokens(400, config.vocab, 1);
    const SessionOptions options{.context = 600, .batch = 100};
    AlignedBytes memory(Value(TestSession::MemoryBytes(*model, options)));
    inlay::SerialExecutor serial;
    inlay::ThreadPool pool(3);
    bool succeeded = true;
    AllocationScope scope;
    auto session = TestSession::Create(*model, options, memory);
    succeeded = succeeded && session;
    succeeded = succeeded && session->Append(tokens, pool);
    for (int i = 0; i < 5; ++i) succeeded = succeeded && session->Append({&tokens[0], 1}, pool);
    session->Truncate(100);
    succeeded = succeeded && session->Append(tokens, serial);
    const bool refused = !session->Append(tokens, pool);  // full
    const AllocationCounts counts = scope.counts();
    BOOST_TEST(succeeded);
    BOOST_TEST(refused);
    BOOST_TEST(counts.allocations == 0u);
    BOOST_TEST(counts.frees == 0u);
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
