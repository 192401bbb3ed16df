// The model of this repository from file to text, on a bare clone: against what PyTorch computes for its weights
// (examples/tiny/train/expected.py), in other weight types, and against itself in other batches.
#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "inlay/config/known_models.hpp"
#include "inlay/core/thread_pool.hpp"
#include "inlay/generate/generation.hpp"
#include "inlay/host/owned_tokenizer.hpp"
#include "inlay/host/text_generator.hpp"
#include "tests/support/requantise.hpp"
#include "tests/support/test_model.hpp"

namespace {

using namespace inlay_test;
using inlay::TokenId;
using inlay::WeightType;
using Json = nlohmann::json;

std::vector<char> Read(const char* name) {
  std::ifstream in(std::string(INLAY_TINY_DIR) + "/" + name, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

const AlignedBytes& ModelBytes() {
  static const AlignedBytes bytes = [] {
    const std::vector<char> read = Read("inlay-tiny.gguf");
    const auto view = std::as_bytes(std::span(read));
    return AlignedBytes(view.begin(), view.end());
  }();
  return bytes;
}

const Json& Expected() {
  static const Json expected = [] {
    const std::vector<char> read = Read("expected.json");
    return Json::parse(read.begin(), read.end());
  }();
  return expected;
}

std::vector<TokenId> Tokens() { return Expected().at("tokens").get<std::vector<TokenId>>(); }

std::vector<float> Logits(const OpenedModel& model, std::span<const TokenId> tokens, std::size_t batch = 4096) {
  inlay::SerialExecutor serial;
  return AllLogits(*model, tokens, inlay::KvType::kF32, serial, batch);
}

// Mean log probability of each token after those before it.
double MeanLogprob(std::span<const float> logits, std::span<const TokenId> tokens) {
  const std::size_t vocab = logits.size() / tokens.size();
  double sum = 0;
  for (std::size_t t = 0; t + 1 < tokens.size(); ++t) {
    const std::span<const float> row = logits.subspan(t * vocab, vocab);
    const double largest = *std::max_element(row.begin(), row.end());
    double total = 0;
    for (const float logit : row) total += std::exp(logit - largest);
    sum += row[static_cast<std::size_t>(tokens[t + 1])] - largest - std::log(total);
  }
  return sum / static_cast<double>(tokens.size() - 1);
}

// Greedy text after `prompt`.
std::string Continue(const OpenedModel& model, const inlay::Tokenizer& tokenizer, std::span<const TokenId> prompt,
                     std::size_t max_tokens) {
  inlay::SerialExecutor serial;
  const inlay::SessionOptions session_options{.kv = inlay::KvType::kF32};
  AlignedBytes session_memory(Value(inlay::Session<TestModel>::MemoryBytes(*model, session_options)));
  auto session = Value(inlay::Session<TestModel>::Create(*model, session_options, session_memory));
  Value(session.Append(prompt, serial));
  const inlay::GenerateOptions options{.max_tokens = max_tokens};
  AlignedBytes memory(inlay::Generation<TestModel>::MemoryBytes(*model, tokenizer, options));
  auto generation = Value(inlay::Generation<TestModel>::Create(session, tokenizer, prompt, options, memory, serial));
  std::string text;
  for (const std::string_view piece : generation) text += piece;
  Value(generation.status());
  return text;
}

bool SameBits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

BOOST_AUTO_TEST_SUITE(model_tiny)

BOOST_AUTO_TEST_CASE(is_the_known_model) {
  const OpenedModel model = OpenModel(ModelBytes());
  BOOST_TEST((model->config() == inlay::kInlayTiny));
  for (const WeightType type : model.file->types()) BOOST_TEST((type == WeightType::kQ8_0 || type == WeightType::kF32));
}

BOOST_AUTO_TEST_CASE(scores) {
  const std::vector<TokenId> tokens = Tokens();
  const std::vector<float> logits = Logits(OpenModel(Requantise(ModelBytes(), WeightType::kF32)), tokens);
  const std::size_t vocab = inlay::kInlayTiny.vocab;
  double largest = 0;
  const auto compare = [&](std::size_t position, const std::vector<double>& row) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      largest = std::max(largest, std::abs(row[i] - static_cast<double>(logits.at(position * vocab + i))));
    }
  };
  compare(tokens.size() - 1, Expected().at("logits_last").get<std::vector<double>>());
  for (const auto& [position, row] : Expected().at("logits_pos").items()) {
    compare(std::stoul(position), row.get<std::vector<double>>());
  }
  BOOST_TEST_MESSAGE("largest difference of a logit: " << largest);
  BOOST_TEST(largest <= 5e-5);
  const auto argmax = Expected().at("argmax").get<std::vector<std::size_t>>();
  const auto gaps = Expected().at("top2_gap").get<std::vector<double>>();
  BOOST_REQUIRE(argmax.size() == tokens.size());
  for (std::size_t t = 0; t < tokens.size(); ++t) {
    if (gaps.at(t) <= 1e-4) continue;
    const float* row = &logits[t * vocab];
    BOOST_TEST(static_cast<std::size_t>(std::max_element(row, row + vocab) - row) == argmax[t]);
  }
}

// Rounding the weights once more costs little; what a kernel gets wrong costs much.
BOOST_AUTO_TEST_CASE(weight_types) {
  struct Variant {
    WeightType type;
    double most;  // by which the mean log probability may differ
  };
  // Several stories: by one alone, a type may gain or lose more than it does.
  const auto stories = Expected().at("stories").get<std::vector<std::vector<TokenId>>>();
  const double expected = Expected().at("stories_mean_logprob").get<double>();
  for (const Variant& variant : {Variant{WeightType::kF32, 1e-5}, Variant{WeightType::kF16, 1e-4},
                                 Variant{WeightType::kBF16, 0.002}, Variant{WeightType::kQ8_0, 0.004},
                                 Variant{WeightType::kQ5_1, 0.004}, Variant{WeightType::kQ5_0, 0.004},
                                 Variant{WeightType::kQ4_1, 0.01}, Variant{WeightType::kQ4_0, 0.02}}) {
    const OpenedModel model = OpenModel(Requantise(ModelBytes(), variant.type));
    double sum = 0, predicted = 0;
    for (const std::vector<TokenId>& tokens : stories) {
      const double count = static_cast<double>(tokens.size() - 1);
      sum += MeanLogprob(Logits(model, tokens), tokens) * count;
      predicted += count;
    }
    const double mean = sum / predicted;
    BOOST_TEST_MESSAGE(inlay::Name(variant.type) << ": " << mean - expected);
    BOOST_TEST_CONTEXT(inlay::Name(variant.type)) { BOOST_TEST(std::abs(mean - expected) <= variant.most); }
  }
}

BOOST_AUTO_TEST_CASE(text) {
  const OpenedModel model = OpenModel(ModelBytes());
  const auto tokenizer = Value(inlay::OwnedTokenizer::FromGguf(model.file->gguf()));
  const std::string prompt = Expected().at("prompt").get<std::string>();
  const auto encoded = Value(inlay::EncodedText::Create(*tokenizer.get(), prompt));
  const std::vector<TokenId> tokens = Tokens();
  const std::size_t prompt_tokens = Expected().at("prompt_tokens").get<std::size_t>();
  const auto prompt_ids = std::span(tokens).first(prompt_tokens);
  BOOST_TEST(std::vector<TokenId>(encoded.tokens().begin(), encoded.tokens().end()) ==
                 std::vector<TokenId>(prompt_ids.begin(), prompt_ids.end()),
             boost::test_tools::per_element());
  const std::string story = Expected().at("text").get<std::string>();
  const std::size_t more = tokens.size() - prompt_tokens;
  BOOST_TEST(prompt + Continue(OpenModel(Requantise(ModelBytes(), WeightType::kF32)), *tokenizer.get(), prompt_ids, more) ==
             story);
  // With rounded activations: where no choice is close.
  const std::string before = Expected().at("firm_prompt").get<std::string>();
  const auto firm = Value(inlay::EncodedText::Create(*tokenizer.get(), before));
  BOOST_TEST(before + Continue(model, *tokenizer.get(), firm.tokens(), Expected().at("firm_tokens").get<std::size_t>()) ==
             Expected().at("firm_text").get<std::string>());
  const auto argmax = Expected().at("argmax").get<std::vector<std::size_t>>();
  const auto gaps = Expected().at("top2_gap").get<std::vector<double>>();
  const std::vector<float> rounded = Logits(model, tokens);
  const std::size_t vocab = inlay::kInlayTiny.vocab;
  for (std::size_t t = 0; t < tokens.size(); ++t) {
    if (gaps.at(t) < 1.0) continue;
    const float* row = &rounded[t * vocab];
    BOOST_TEST(static_cast<std::size_t>(std::max_element(row, row + vocab) - row) == argmax[t]);
  }

  const auto asked = Expected().at("call_prompt").get<std::vector<TokenId>>();
  BOOST_TEST(Continue(model, *tokenizer.get(), asked, 64) == " " + Expected().at("call_text").get<std::string>());
}

// What users write can never become a control token.
BOOST_AUTO_TEST_CASE(control_tokens_in_text) {
  const OpenedModel model = OpenModel(ModelBytes());
  const auto tokenizer = Value(inlay::OwnedTokenizer::FromGguf(model.file->gguf()));
  const std::vector<std::string_view> controls = {"<s>",           "</s>",     "<unk>",      "<|system|>", "<|user|>",
                                                  "<|assistant|>", "<|tool|>", "<|result|>", "<|end|>",    "<0x41>"};
  std::string all;
  for (const std::string_view control : controls) {
    const TokenId id = tokenizer.get()->vocabulary().Find(control);
    BOOST_TEST_REQUIRE(id != inlay::kNoToken);
    all += control;
    for (const std::string& text : {std::string(control), "a" + std::string(control) + "b", all}) {
      const inlay::EncodeOptions options{.add_special = false, .parse_special = false};
      const auto encoded = Value(inlay::EncodedText::Create(*tokenizer.get(), text, options));
      for (const TokenId token : encoded.tokens()) {
        BOOST_TEST((tokenizer.get()->vocabulary().Attributes(token) & inlay::kTokenControl) == 0);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(pieces_of_a_prompt) {
  const OpenedModel model = OpenModel(ModelBytes());
  const std::vector<TokenId> tokens = Tokens();
  const std::vector<float> whole = Logits(model, tokens);
  BOOST_TEST(SameBits(whole, Logits(model, tokens, 1)));
  BOOST_TEST(SameBits(whole, Logits(model, tokens, 7)));
}

// Three stories in one pass, one token each at a time, are the three alone; on threads too.
BOOST_AUTO_TEST_CASE(batch_equals_single) {
  const OpenedModel model = OpenModel(ModelBytes());
  const std::vector<TokenId> tokens = Tokens();
  constexpr std::size_t kSteps = 25;
  constexpr std::size_t kApart = 7;  // each story is this many tokens ahead of the next
  const std::vector<float> alone = Logits(model, std::span(tokens).first(kSteps + 2 * kApart));
  inlay::ThreadPool threads(3);
  inlay::SessionOptions options;
  options.context = 64;
  options.outputs = 4;
  options.kv = inlay::KvType::kF32;
  AlignedBytes memory(3 * (Value(model->PlanFor(options)).session() + 4096));
  inlay::Arena arena = Value(inlay::Arena::Create(memory));
  std::vector<inlay::SequenceCache> caches;
  for (int i = 0; i < 3; ++i) caches.push_back(Value(model->NewCache(options, arena)));
  inlay::Workspace workspace = Value(model->NewWorkspace(options, arena));
  const std::size_t vocab = model->config().vocab;
  for (std::size_t i = 0; i < 2; ++i) {
    const inlay::SequenceInput ahead{&caches[i], std::span(tokens).first((2 - i) * kApart), inlay::Outputs::kNone};
    Value(model->Forward({&ahead, 1}, workspace, threads));
  }
  for (std::size_t step = 0; step < kSteps; ++step) {
    std::vector<inlay::SequenceInput> inputs;
    for (inlay::SequenceCache& cache : caches) {
      inputs.push_back({&cache, std::span(tokens).subspan(cache.length(), 1), inlay::Outputs::kLast});
    }
    const inlay::LogitsView logits = Value(model->Forward(inputs, workspace, threads));
    BOOST_REQUIRE(logits.rows == 3);
    for (std::size_t i = 0; i < 3; ++i) {
      const std::size_t position = step + (2 - i) * kApart;
      BOOST_TEST(SameBits(logits.row(i), std::span(alone).subspan(position * vocab, vocab)));
    }
  }
}

// A story that is put away in the middle, in every type of cache, goes on as if it had not been.
BOOST_AUTO_TEST_CASE(saved_and_restored) {
  const OpenedModel model = OpenModel(ModelBytes());
  const std::vector<TokenId> tokens = Tokens();
  constexpr std::size_t kBefore = 37;
  inlay::SerialExecutor serial;
  for (const inlay::KvType kv : {inlay::KvType::kF32, inlay::KvType::kF16, inlay::KvType::kBF16, inlay::KvType::kQ8}) {
    const inlay::SessionOptions whole{.kv = kv}, less{.context = 100, .batch = 5, .kv = kv};
    AlignedBytes memory(Value(inlay::Session<TestModel>::MemoryBytes(*model, whole)));
    AlignedBytes less_memory(Value(inlay::Session<TestModel>::MemoryBytes(*model, less)));
    auto first = Value(inlay::Session<TestModel>::Create(*model, whole, memory));
    auto second = Value(inlay::Session<TestModel>::Create(*model, less, less_memory));
    Value(first.Append(std::span(tokens).first(kBefore), serial));
    std::vector<std::byte> saved(first.SavedBytes());
    Value(first.Save(saved));
    Value(second.Restore(saved));
    BOOST_TEST(SameBits(second.logits(), first.logits()));
    for (std::size_t t = kBefore; t < tokens.size() && t < 90; ++t) {
      Value(first.Append({&tokens[t], 1}, serial));
      Value(second.Append({&tokens[t], 1}, serial));
      BOOST_TEST_REQUIRE(SameBits(second.logits(), first.logits()));
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
