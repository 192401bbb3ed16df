// Model files from disk to text: llama2.c's stories260K as a checkpoint, as GGUF and packed.
#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "inlay/core/thread_pool.hpp"
#include "inlay/host/loaded_model.hpp"
#include "inlay/host/model_file.hpp"
#include "inlay/host/packed_model_writer.hpp"
#include "inlay/host/text_generator.hpp"
#include "tests/support/fixtures.hpp"
#include "tests/support/random_model.hpp"
#include "tests/support/temporary_file.hpp"
#include "tests/support/test_model.hpp"

namespace {

using namespace inlay_test;
using inlay::ErrorCode;
using inlay::LoadOptions;
using inlay::ModelFile;
using inlay::TokenId;
using Json = nlohmann::json;
using TestGenerator = inlay::TextGenerator<AnyTestModel>;

AlignedBytes Packed(const ModelFile& file) {
  AlignedBytes out;
  auto sink = [&](std::span<const std::byte> bytes) -> inlay::Result<void> {
    out.insert(out.end(), bytes.begin(), bytes.end());
    return {};
  };
  Value(inlay::WritePackedModel(file, "test", sink));
  return out;
}

inlay::SerialExecutor g_serial;

BOOST_AUTO_TEST_SUITE(host_model_file)

// Greedy text of all prompts equals what llama2.c's own program writes, and the tokens llama.cpp's.
BOOST_AUTO_TEST_CASE(stories260k) {
  const std::string folder = FixturePath("stories260K").string();
  if (folder.empty()) return Skip("host_model_file/stories260k");
  inlay::ThreadPool pool(2);
  const std::string checkpoint = folder + "/stories260K.bin", gguf = folder + "/stories260K.gguf", tokens = folder + "/tok512.bin";
  const LoadOptions with_tokens{.tokenizer_path = tokens.c_str()};
  const TemporaryFile packed_checkpoint("packed_bin", Packed(Value(ModelFile::Open(checkpoint.c_str(), with_tokens, pool))));
  const TemporaryFile packed_gguf("packed_gguf", Packed(Value(ModelFile::Open(gguf.c_str(), {}, pool))));
  struct File {
    const char* path;
    LoadOptions load;
    bool packed;
  };
  const std::vector<File> files = {{checkpoint.c_str(), with_tokens, false},
                                   {gguf.c_str(), {}, false},
                                   {packed_checkpoint.path(), {.verify = true}, true},
                                   {packed_gguf.path(), {.verify = true}, true}};
  std::ifstream in(folder + "/expected.json");
  const Json expected = Json::parse(in);
  BOOST_TEST(expected.size() >= 3u);
  for (const File& file : files) {
    TestGenerator generator =
        Value(TestGenerator::Open(file.path, {.load = file.load, .session = {.kv = inlay::KvType::kF32}}, pool));
    BOOST_TEST(generator.file().was_packed() == file.packed);
    BOOST_TEST((generator.model().config() == inlay::kStories260K));
    for (const Json& test : expected) {
      const std::string prompt = test.at("prompt");
      const auto prompt_ids = test.at("prompt_ids").get<std::vector<TokenId>>();
      const auto ids = test.at("ids").get<std::vector<TokenId>>();
      const inlay::EncodedText encoded = Value(inlay::EncodedText::Create(generator.tokenizer(), prompt));
      BOOST_TEST(encoded.tokens() == prompt_ids, boost::test_tools::per_element());
      auto generation =
          Value(generator.Generate(prompt, {.max_tokens = ids.size() - prompt_ids.size(), .stop_at_end_of_text = true}));
      std::string text = prompt;
      std::vector<TokenId> written = prompt_ids;
      std::size_t seen = 0;
      for (const std::string_view piece : generation) {
        text += piece;
        if (generation.tokens() == seen) continue;
        ++seen;
        written.push_back(generation.token());
      }
      BOOST_TEST(generation.status().has_value());
      BOOST_TEST(text == test.at("text").get<std::string>(), file.path << ", prompt \"" << prompt << '"');
      BOOST_TEST(written == ids, boost::test_tools::per_element());
    }
  }
}

// The probability that the model gives to a text it wrote itself, over 500 tokens.
BOOST_AUTO_TEST_CASE(stories260k_likelihood) {
  const auto path = FixturePath("stories260K/loglik.json");
  if (path.empty()) return Skip("host_model_file/stories260k_likelihood");
  std::ifstream in(path);
  const Json expected = Json::parse(in);
  const auto ids = expected.at("ids").get<std::vector<TokenId>>();
  const auto logprobs = expected.at("logprobs").get<std::vector<double>>();
  const auto loaded =
      Value(inlay::LoadedModel<AnyTestModel>::Open(FixturePath("stories260K/stories260K.gguf").c_str(), g_serial));
  const std::vector<float> logits = AllLogits(*loaded.model(), ids, inlay::KvType::kF32, g_serial);
  const std::size_t vocab = loaded.model().config().vocab;
  double sum = 0.0, largest = 0.0;
  for (std::size_t t = 0; t + 1 < ids.size(); ++t) {
    const float* row = &logits[t * vocab];
    double total = 0.0;
    for (std::size_t i = 0; i < vocab; ++i) total += std::exp(static_cast<double>(row[i]));
    const double logprob = static_cast<double>(row[ids[t + 1]]) - std::log(total);
    largest = std::max(largest, std::abs(logprob - logprobs.at(t)));
    sum += logprob;
  }
  const double mean = sum / static_cast<double>(ids.size() - 1);
  BOOST_TEST_MESSAGE("largest difference of a log probability " << largest << ", of the mean "
                                                                << mean - expected.at("mean_logprob").get<double>());
  BOOST_TEST(largest < 1e-3);
  BOOST_TEST(std::abs(mean - expected.at("mean_logprob").get<double>()) < 1e-4);
}

RandomModelOptions WithTokenizer() {
  inlay::ModelConfig config = kBlockConfig;
  config.vocab = 340;
  return {.config = config, .type = MixOf({inlay::WeightType::kQ8_0, inlay::WeightType::kQ4_0}), .tokenizer = true};
}

// The same without reference files: a random model, plain and packed.
BOOST_AUTO_TEST_CASE(random_model) {
  const TemporaryFile plain("plain", WriteGguf(RandomModel(WithTokenizer())));
  const TemporaryFile packed("packed", Packed(Value(ModelFile::Open(plain.path(), {}, g_serial))));
  const auto story = [](const char* path) {
    TestGenerator generator = Value(TestGenerator::Open(path, {.load = {.verify = true}, .session = {}}, g_serial));
    auto generation = Value(generator.Generate("hey you", {.max_tokens = 60, .stop_at_end_of_text = false}));
    std::string text;
    for (const std::string_view piece : generation) text += piece;
    BOOST_TEST(generation.tokens() == 60u);
    return text;
  };
  const std::string text = story(plain.path());
  BOOST_TEST(!text.empty());
  BOOST_TEST(story(packed.path()) == text);
}

// A file in memory is the file: plain, copied when it is packed; packed, used where it is.
BOOST_AUTO_TEST_CASE(in_memory) {
  AlignedBytes plain = WriteGguf(RandomModel(WithTokenizer()));
  const TemporaryFile path("in_memory", plain);
  const AlignedBytes packed = Packed(Value(ModelFile::Open(path.path(), {}, g_serial)));
  const auto story = [](auto from) {
    TestGenerator generator = Value(TestGenerator::Open(from, {.load = {.verify = true}, .session = {}}, g_serial));
    std::vector<TokenId> prompt(3, 1);
    auto generation = Value(generator.Generate(std::span<const TokenId>(prompt), {.max_tokens = 40, .stop_at_end_of_text = false}));
    std::string text;
    for (const std::string_view piece : generation) text += piece;
    return text;
  };
  const std::string text = story(path.path());
  BOOST_TEST(!text.empty());
  BOOST_TEST(story(std::span<const std::byte>(plain)) == text);
  BOOST_TEST(story(std::span<const std::byte>(packed)) == text);
  // Packing gives read pages back to the system, which must not happen to memory that is not a mapping.
  BOOST_TEST((plain == WriteGguf(RandomModel(WithTokenizer()))));

  const ModelFile opened = Value(ModelFile::Open(std::span<const std::byte>(packed), {}, g_serial));
  BOOST_TEST(opened.was_packed());
  BOOST_TEST((opened.packed_weights().data() > packed.data() && opened.packed_weights().data() < packed.data() + packed.size()));
  const auto cut = ModelFile::Open(std::span<const std::byte>(packed).first(100), {}, g_serial);
  BOOST_REQUIRE(!cut);
  BOOST_TEST((cut.error().code == ErrorCode::kTruncated));
}

// A program for packed files alone: the same model and text, and errors for everything else.
BOOST_AUTO_TEST_CASE(packed_only) {
  using PackedFile = inlay::PackedModelFile<inlay::WordPiece, inlay::SentencePieceBpe>;
  const AlignedBytes plain = WriteGguf(RandomModel(WithTokenizer()));
  const TemporaryFile plain_path("packed_only", plain);
  const ModelFile file = Value(ModelFile::Open(plain_path.path(), {}, g_serial));
  const AlignedBytes packed = Packed(file);
  const TemporaryFile packed_path("packed_only", packed);
  const PackedFile opened = Value(PackedFile::Open(std::span<const std::byte>(packed), {.verify = true}, g_serial));
  BOOST_TEST((opened.config() == file.config()));
  BOOST_TEST(std::ranges::equal(opened.types(), file.types()));
  BOOST_TEST(std::ranges::equal(opened.packed_weights(), file.packed_weights()));
  BOOST_TEST(opened.was_packed());
  BOOST_REQUIRE(opened.tokenizer() != nullptr);
  BOOST_TEST(opened.tokenizer()->size() == file.config().vocab);

  const auto story = []<class Generator>(std::type_identity<Generator>, const char* path) {
    Generator generator = Value(Generator::Open(path, g_serial));
    auto generation = Value(generator.Generate("hey you", {.max_tokens = 30, .stop_at_end_of_text = false}));
    std::string text;
    for (const std::string_view piece : generation) text += piece;
    return text;
  };
  const std::string text = story(std::type_identity<TestGenerator>(), plain_path.path());
  BOOST_TEST(!text.empty());
  using PackedGenerator = inlay::TextGenerator<AnyTestModel, PackedFile>;
  BOOST_TEST(story(std::type_identity<PackedGenerator>(), packed_path.path()) == text);

  const auto refused = [](std::span<const std::byte> bytes) {
    const auto result = PackedFile::Open(bytes, {}, g_serial);
    BOOST_REQUIRE(!result);
    return result.error();
  };
  BOOST_TEST((refused(plain).code == ErrorCode::kUnsupported));
  BOOST_TEST(refused(plain).field.view() == "inlay.layout");
  const AlignedBytes checkpoint(1000);
  BOOST_TEST((refused(checkpoint).code == ErrorCode::kBadFile));
  // A list without the algorithm of the file: token ids still run.
  const auto other = Value(inlay::PackedModelFile<inlay::BytePairEncoding>::Open(packed_path.path(), {}, g_serial));
  BOOST_TEST(other.tokenizer() == nullptr);
  BOOST_TEST((other.tokenizer_error().code == ErrorCode::kUnsupported));
  BOOST_TEST((other.config() == file.config()));
}

BOOST_AUTO_TEST_CASE(moves) {
  const TemporaryFile plain("moves", WriteGguf(RandomModel(WithTokenizer())));
  ModelFile first = Value(ModelFile::Open(plain.path(), {}, g_serial));
  const std::byte* weights = first.packed_weights().data();
  const ModelFile second = std::move(first);
  BOOST_TEST(second.packed_weights().data() == weights);
  BOOST_REQUIRE(second.tokenizer() != nullptr);
  BOOST_TEST(second.tokenizer()->bos() == 1);
  BOOST_REQUIRE(second.gguf() != nullptr);
  BOOST_TEST(second.gguf()->GetString("general.architecture").value_or("") == "llama");
}

BOOST_AUTO_TEST_CASE(without_a_tokenizer) {
  FileContents file = RandomModel({.config = kOddConfig});
  const TemporaryFile plain("no_vocab", WriteGguf(file));
  const ModelFile opened = Value(ModelFile::Open(plain.path(), {}, g_serial));
  BOOST_TEST(opened.tokenizer() == nullptr);
  BOOST_TEST((opened.tokenizer_error().code == ErrorCode::kMissing));
  const auto generator = TestGenerator::Open(plain.path(), g_serial);
  BOOST_REQUIRE(!generator);
  BOOST_TEST((generator.error().code == ErrorCode::kMissing));
  // Of an algorithm that is not there: the model opens, without text.
  AddTinyVocabulary(file, 400);
  file.Set("tokenizer.ggml.model", std::string("another"));
  plain.Write(WriteGguf(file));
  const ModelFile other = Value(ModelFile::Open(plain.path(), {}, g_serial));
  BOOST_TEST(other.tokenizer() == nullptr);
  BOOST_TEST((other.tokenizer_error().code == ErrorCode::kUnsupported));
}

BOOST_AUTO_TEST_CASE(errors) {
  const auto code = [](const char* path, const LoadOptions& load = {}) {
    const auto opened = ModelFile::Open(path, load, g_serial);
    BOOST_REQUIRE(!opened);
    BOOST_TEST(!opened.error().field.empty());
    return opened.error().code;
  };
  BOOST_TEST((code("/nonexistent/model.gguf") == ErrorCode::kSystem));
  const TemporaryFile file("errors");
  file.Write({});
  code(file.path());
  file.Write(std::as_bytes(std::span(std::string_view("GGUF"))));
  BOOST_TEST((code(file.path()) == ErrorCode::kTruncated));
  // Only a verifying open reads every weight.
  FileContents poisoned = RandomModel({.config = kOddConfig});
  const float bad = std::numeric_limits<float>::infinity();
  std::memcpy(poisoned.tensor("blk.1.ffn_up.weight").data.data() + 40, &bad, sizeof(bad));
  file.Write(WriteGguf(poisoned));
  BOOST_TEST(ModelFile::Open(file.path(), {}, g_serial).has_value());
  BOOST_TEST((code(file.path(), {.verify = true}) == ErrorCode::kNonFinite));
  AlignedBytes packed = Packed(Value(ModelFile::Open(file.path(), {}, g_serial)));
  packed.back() ^= std::byte{1};
  file.Write(packed);
  BOOST_TEST(ModelFile::Open(file.path(), {}, g_serial).has_value());
  BOOST_TEST((code(file.path(), {.verify = true}) == ErrorCode::kBadFile));
  // A static model takes its own configuration only: see tests/model/model_test.cpp. Packing can be stopped.
  file.Write(WriteGguf(RandomModel({.config = kOddConfig})));
  const auto stopped =
      ModelFile::Open(file.path(), {}, g_serial, [](std::size_t done, std::size_t total) { return done * 2 < total; });
  BOOST_REQUIRE(!stopped);
  BOOST_TEST((stopped.error().code == ErrorCode::kCancelled));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
