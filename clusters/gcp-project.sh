#!/usr/bin/env bash
# What clusters/gcp.yaml needs in a project, once: a bucket, a network that lets in ssh from one
# address, and accounts for the machines. Google's own network opens ssh to the whole world, and
# Ray's own account has all of the project's buckets.
#
#   bash clusters/gcp-project.sh my-project us-central1 my-bucket 203.0.113.7/32
set -euo pipefail

if [ $# -ne 4 ]; then
  echo "usage: bash $0 PROJECT REGION BUCKET YOUR_ADDRESS/32" >&2
  exit 2
fi
project=$1 region=$2 bucket=gs://$3 address=$4
if [[ ! $address =~ ^[0-9]+(\.[0-9]+){3}/([89]|[12][0-9]|3[0-2])$ ]]; then
  echo "$address: name the only addresses that may log in, such as 203.0.113.7/32" >&2
  exit 2
fi
google() { gcloud --quiet --project="$project" "$@"; }
account() { echo "neft-ray-$1@$project.iam.gserviceaccount.com"; }

google services enable compute.googleapis.com iam.googleapis.com \
  cloudresourcemanager.googleapis.com storage.googleapis.com

google storage buckets create "$bucket" --location="$region" \
  --uniform-bucket-level-access --public-access-prevention

google compute networks create neft-ray --subnet-mode=auto
google compute firewall-rules create neft-ray-ssh --network=neft-ray \
  --allow=tcp:22 --source-ranges="$address" --target-tags=neft-ray
google compute firewall-rules create neft-ray-between --network=neft-ray \
  --allow=all --source-tags=neft-ray --target-tags=neft-ray

# Both accounts reach this bucket and no other; the head alone makes machines, which run as workers
for role in head worker; do
  google iam service-accounts create "neft-ray-$role"
  for right in roles/storage.objectUser roles/storage.legacyBucketReader; do
    google storage buckets add-iam-policy-binding "$bucket" \
      --member="serviceAccount:$(account $role)" --role=$right
  done
done
google projects add-iam-policy-binding "$project" --condition=None \
  --member="serviceAccount:$(account head)" --role=roles/compute.instanceAdmin.v1
google iam service-accounts add-iam-policy-binding "$(account worker)" \
  --member="serviceAccount:$(account head)" --role=roles/iam.serviceAccountUser
