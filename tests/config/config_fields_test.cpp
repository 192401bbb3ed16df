// The table of fields lists all of ModelConfig, and comparing by it names what differs.
#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "inlay/config/config_fields.hpp"
#include "inlay/config/known_models.hpp"

namespace {

using inlay::ConfigField;
using inlay::ConfigFieldKind;
using inlay::ModelConfig;

BOOST_AUTO_TEST_SUITE(config_config_fields)

// Fields do not overlap, and what lies between them is padding: fewer bytes than a field of four, after runs of bytes. A
// new member of ModelConfig that is not in INLAY_CONFIG_FIELDS shows as a larger gap, or as another number of gap bytes.
BOOST_AUTO_TEST_CASE(every_member_is_listed) {
  std::vector<bool> covered(sizeof(ModelConfig));
  std::set<std::string_view> names;
  std::size_t end = 0;
  for (const ConfigField& field : inlay::kConfigFields) {
    BOOST_TEST(names.insert(field.name).second, field.name);
    // In the order of declaration, which designated initialisers need.
    BOOST_TEST(field.offset >= end, field.name);
    end = field.offset + BytesOf(field.kind);
    for (std::size_t i = 0; i < BytesOf(field.kind); ++i) {
      BOOST_TEST(!covered.at(field.offset + i), field.name);
      covered.at(field.offset + i) = true;
    }
  }
  std::size_t gap = 0, gaps = 0;
  for (const bool byte : covered) {
    gap = byte ? 0 : gap + 1;
    gaps += byte ? 0 : 1;
    BOOST_TEST(gap < 4u);
  }
  // Changes with the struct: count the padding of the new layout before changing the number.
  BOOST_TEST(gaps == 30u);
}

BOOST_AUTO_TEST_CASE(values) {
  ModelConfig config;
  const auto field = [](std::string_view name) {
    return *std::find_if(std::begin(inlay::kConfigFields), std::end(inlay::kConfigFields),
                         [&](const ConfigField& f) { return f.name == name; });
  };
  SetField(config, field("dim"), std::uint32_t{7});
  SetField(config, field("rope.local_base"), 3.5f);
  SetField(config, field("norm.kind"), std::uint8_t{1});
  SetField(config, field("attention.global"), inlay::LayerPattern::LastOf(6));
  SetField(config, field("gated"), false);
  BOOST_TEST(config.dim == 7u);
  BOOST_TEST(config.rope.local_base == 3.5f);
  BOOST_TEST((config.norm.kind == inlay::NormKind::kLayer));
  BOOST_TEST((config.attention.global == inlay::LayerPattern::LastOf(6)));
  BOOST_TEST(!config.gated);
  BOOST_TEST(inlay::GetField<std::uint32_t>(config, field("dim")) == 7u);
  BOOST_TEST(field("norm.placement").enumeration->enumerators[2] == "kSandwich");
}

// The last enumerator of each enum has its name: a new one without would be read as unknown.
BOOST_AUTO_TEST_CASE(enumerators_have_names) {
  const auto last = [](auto enumerator, std::string_view name) {
    const auto names = inlay::detail::kConfigEnum<decltype(enumerator)>.enumerators;
    BOOST_TEST(names.size() == static_cast<std::size_t>(enumerator) + 1);
    BOOST_TEST(names.back() == name);
  };
  last(inlay::RopeScaling::kLongRope, "kLongRope");
  last(inlay::RopeStyle::kHalves, "kHalves");
  last(inlay::NormKind::kLayer, "kLayer");
  last(inlay::NormPlacement::kResidual, "kResidual");
  last(inlay::QkNorm::kUnweighted, "kUnweighted");
  last(inlay::WindowKind::kSymmetric, "kSymmetric");
  last(inlay::Activation::kClampedSilu, "kClampedSilu");
  last(inlay::Router::kSigmoid, "kSigmoid");
  last(inlay::StateKind::kSpace, "kSpace");
  last(inlay::Pooling::kRank, "kRank");
}

BOOST_AUTO_TEST_CASE(same_model) {
  const ModelConfig compiled = inlay::kTinyLlama1_1B;
  BOOST_TEST(inlay::RequireSameModel(compiled, compiled).has_value());
  for (const ConfigField& field : inlay::kConfigFields) {
    if (field.name == "context" || field.name == "architecture") continue;
    ModelConfig file = compiled;
    std::byte* const at = reinterpret_cast<std::byte*>(&file) + field.offset;
    *at ^= std::byte{1};
    const auto same = inlay::RequireSameModel(compiled, file);
    BOOST_REQUIRE(!same);
    BOOST_TEST(same.error().field.view() == field.name);
  }
  // Only a table of positions ties a model to its context.
  ModelConfig file = compiled;
  file.context = 7;
  BOOST_TEST(inlay::RequireSameModel(compiled, file).has_value());
  ModelConfig table = compiled;
  table.learned_positions = file.learned_positions = true;
  BOOST_TEST(inlay::RequireSameModel(table, file).error().field.view() == "context");
  file.context = compiled.context;
  file.ffn_dim = 99;
  file.learned_positions = false;
  const std::string message(inlay::RequireSameModel(compiled, file).error().Message().view());
  BOOST_TEST(message.find("the file has 99, this model type is compiled for 5632") != std::string::npos, message);
}

BOOST_AUTO_TEST_CASE(patterns) {
  using inlay::LayerPattern;
  constexpr LayerPattern kLast = LayerPattern::LastOf(6), kFirst = LayerPattern::FirstOf(3);
  static_assert(!kLast.Has(0) && kLast.Has(5) && !kLast.Has(6) && kLast.Has(11));
  static_assert(kFirst.Has(0) && !kFirst.Has(1) && kFirst.Has(3));
  static_assert(LayerPattern::All().Has(12345) && !LayerPattern{}.Has(0));
  static_assert(LayerPattern::LastOf(128).Has(127) && !LayerPattern::LastOf(128).Has(126));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
