// Reranking of texts: the scores are those of the pairs' tokens; documents that are too long; models that rank nothing.
#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "inlay/core/thread_pool.hpp"
#include "inlay/host/owned_tokenizer.hpp"
#include "inlay/host/reranker.hpp"
#include "tests/support/family_models.hpp"
#include "tests/support/random_model.hpp"
#include "tests/support/test_model.hpp"

namespace {

using namespace inlay_test;
using inlay::ErrorCode;
using inlay::ModelConfig;
using inlay::Reranker;
using inlay::RerankOptions;

const inlay::SerialExecutor kSerial;

// A model with a head and a vocabulary, of one of two families.
struct Ranker {
  explicit Ranker(ModelConfig config, inlay::HeadConfig head) : Ranker(Contents(config, head)) {}
  explicit Ranker(const FileContents& contents)
      : opened(OpenModel(contents)), tokenizer(Value(inlay::OwnedTokenizer::FromGguf(opened.file->gguf()))) {}

  static FileContents Contents(ModelConfig config, inlay::HeadConfig head) {
    config.vocab = 400;
    config.context = 64;
    config.head = head;
    return RandomModel({.config = config, .seed = 5, .tokenizer = true});
  }
  // What the model gives for these tokens.
  float Score(const std::vector<inlay::TokenId>& tokens) const {
    const inlay::SessionOptions options{.context = 64, .batch = 64, .kv = inlay::KvType::kF32};
    AlignedBytes memory(Value(opened->PlanFor(options)).session());
    inlay::Arena arena = Value(inlay::Arena::Create(memory));
    inlay::SequenceCache cache = Value(opened->NewCache(options, arena));
    inlay::Workspace workspace = Value(opened->NewWorkspace(options, arena));
    std::vector<float> scores(opened->config().score_count());
    Value(inlay::ScoreSequence(*opened, cache, workspace, tokens, scores, kSerial));
    return scores[0];
  }
  std::vector<inlay::TokenId> Tokens(std::string_view text, bool add_special) const {
    std::vector<std::byte> scratch(tokenizer.get()->EncodeScratchBytes(text.size()));
    std::vector<inlay::TokenId> tokens(tokenizer.get()->MaxTokens(text.size()));
    tokens.resize(Value(tokenizer.get()->Encode(text, {.add_special = add_special}, scratch, tokens)));
    return tokens;
  }
  std::vector<inlay::TokenId> Pair(std::string_view query, std::string_view document) const {
    std::vector<inlay::TokenId> tokens = Tokens(query, true);
    const std::vector<inlay::TokenId> more = Tokens(document, false);
    tokens.insert(tokens.end(), more.begin(), more.end());
    return tokens;
  }

  OpenedModel opened;
  inlay::OwnedTokenizer tokenizer;
};

BOOST_AUTO_TEST_SUITE(host_reranker)

BOOST_AUTO_TEST_CASE(ScoresAreThoseOfTheTokens) {
  const Ranker rankers[] = {Ranker(family::kBertSmall, {.labels = 1, .label_bias = true, .dense = true, .dense_bias = true}),
                            Ranker(family::kQwen3Dense, {.labels = 2, .softmax = true, .pooling = inlay::Pooling::kLast})};
  inlay::ThreadPool pool(2);
  for (const Ranker& ranker : rankers) {
    auto reranker = Value(Reranker<TestModel>::Create(*ranker.opened, *ranker.tokenizer.get(), {.threads = 2}));
    // Short after long and long after short: the memory grows.
    const std::string_view documents[] = {"w1 abc w2", "x", "a b c d e f g h i j k l m n o p", "w3w4"};
    std::vector<float> scores(4);
    Value(reranker.Rank("w5 of", documents, scores, kSerial));
    for (std::size_t i = 0; i < 4; ++i) {
      BOOST_TEST(scores[i] == ranker.Score(ranker.Pair("w5 of", documents[i])));
      BOOST_TEST(Value(reranker.Score("w5 of", documents[i], pool)) == scores[i]);
      for (std::size_t k = 0; k < i; ++k) BOOST_TEST(scores[i] != scores[k]);
    }
    BOOST_TEST(Value(reranker.Score("another", documents[0], kSerial)) != scores[0]);
    scores.pop_back();
    const auto wrong = reranker.Rank("w5 of", documents, scores, kSerial);
    BOOST_REQUIRE(!wrong);
    BOOST_TEST((wrong.error().code == ErrorCode::kInvalidArgument));
  }
}

BOOST_AUTO_TEST_CASE(Forms) {
  FileContents contents = Ranker::Contents(family::kQwen3Dense, {.labels = 2, .softmax = true, .pooling = inlay::Pooling::kLast});
  contents.Set(inlay::PairForm::kKey, std::string("<s>w7 {query}</s>w8 {document}"));
  const Ranker ranker(contents);
  BOOST_TEST(inlay::RerankForm(ranker.opened.file->gguf()) == "<s>w7 {query}</s>w8 {document}");
  RerankOptions options;
  options.form = inlay::RerankForm(ranker.opened.file->gguf());
  auto reranker = Value(Reranker<TestModel>::Create(*ranker.opened, *ranker.tokenizer.get(), options));
  std::vector<inlay::TokenId> tokens = ranker.Tokens("w7 abc", false), more = ranker.Tokens("w8 de </s>", false);
  tokens.insert(tokens.begin(), 1);
  tokens.push_back(2);
  tokens.insert(tokens.end(), more.begin(), more.end());
  BOOST_TEST(Value(reranker.Score("abc", "de </s>", kSerial)) == ranker.Score(tokens));
  BOOST_TEST(inlay::RerankForm(Ranker(family::kBertSmall, {.labels = 1}).opened.file->gguf()).empty());
}

// The longest beginning in whole characters that fits.
BOOST_AUTO_TEST_CASE(DocumentsThatAreTooLong) {
  const Ranker ranker(family::kBertSmall, {.labels = 1});
  std::string document;
  for (int i = 0; i < 60; ++i) document += i % 3 == 0 ? "\xF0\x9F\x8D\x8E" : i % 3 == 1 ? "w" + std::to_string(i % 50) : " \xC3\xA9";
  RerankOptions options;
  options.context = 20;
  auto strict = Value(Reranker<TestModel>::Create(*ranker.opened, *ranker.tokenizer.get(), options));
  const auto refused = strict.Score("ab", document, kSerial);
  BOOST_REQUIRE(!refused);
  BOOST_TEST((refused.error().code == ErrorCode::kTooLarge));
  options.cut_documents = true;
  auto cutting = Value(Reranker<TestModel>::Create(*ranker.opened, *ranker.tokenizer.get(), options));
  std::size_t longest = 0;
  for (std::size_t bytes = 0; bytes < document.size(); ++bytes) {
    const bool whole = (static_cast<unsigned char>(document[bytes]) & 0xC0) != 0x80;
    if (whole && ranker.Pair("ab", document.substr(0, bytes)).size() <= 20) longest = bytes;
  }
  BOOST_TEST((longest != 0 && longest < document.size()));
  BOOST_TEST(Value(cutting.Score("ab", document, kSerial)) == ranker.Score(ranker.Pair("ab", document.substr(0, longest))));
  BOOST_TEST(Value(cutting.Score("ab", "w1", kSerial)) == ranker.Score(ranker.Pair("ab", "w1")));
  // A query that leaves no room.
  const auto full = cutting.Score(document, "w1", kSerial);
  BOOST_REQUIRE(!full);
  BOOST_TEST((full.error().code == ErrorCode::kTooLarge));
}

BOOST_AUTO_TEST_CASE(ModelsThatRankNothing) {
  for (const inlay::HeadConfig& head : {inlay::HeadConfig{}, {.labels = 3}, {.labels = 2}}) {
    const Ranker ranker(family::kBertSmall, head);
    const auto reranker = Reranker<TestModel>::Create(*ranker.opened, *ranker.tokenizer.get());
    BOOST_REQUIRE(!reranker);
    BOOST_TEST((reranker.error().code == ErrorCode::kUnsupported));
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
