// Static models of families, for the tests.
#include "tests/support/family_models.hpp"

namespace inlay_test {

std::vector<FamilyModel> FamilyModels4() {
  using namespace family;
  return {FamilyModelOf<kOss>(), FamilyModelOf<kBertSmall>(), FamilyModelOf<kNomic>(), FamilyModelOf<kModern>(),
          FamilyModelOf<kGemmaEncoder>()};
}

}  // namespace inlay_test
